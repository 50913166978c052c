"""The committed table of names that vLLM moved."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from mhcs.vllm import engine
from model_hosting_container_standards.customer_code.moved_names import MovedNames


def of_release(monkeypatch: pytest.MonkeyPatch, version: str | None) -> MovedNames:
    """Return the names that are missing in a release."""
    vllm = ModuleType("vllm")
    vllm.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    return engine.moved_names


def places(moved: MovedNames) -> dict[tuple[str, str], tuple[str, str] | None]:
    """Return the new place of each name, None if it was removed."""
    found: dict[tuple[str, str], tuple[str, str] | None] = {}
    for module, moves in moved.items():
        for move in moves:
            new, _, other = move.place.partition(":")
            for name in move.names:
                found[module, name] = (new, other or name) if new else None
    return found


@pytest.fixture
def newest(monkeypatch: pytest.MonkeyPatch) -> MovedNames:
    return of_release(monkeypatch, "99.0")


def test_every_moved_name_has_a_final_target(newest: MovedNames) -> None:
    steps = places(newest)
    assert len(steps) > 1000
    for start in steps:
        seen = [start]
        while (step := steps.get(seen[-1])) is not None:
            assert step not in seen
            seen.append(step)


def test_names_move_once_per_module(newest: MovedNames) -> None:
    names = [
        (m, name) for m, moves in newest.items() for v in moves for name in v.names
    ]
    assert len(names) == len({*names})
    assert all(module.startswith("vllm.") for module, _ in names)


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def test_moves_of_a_module_are_in_order(newest: MovedNames) -> None:
    for moves in newest.values():
        releases = [numbers(move.last) for move in moves]
        assert releases == sorted(releases)


@pytest.mark.parametrize(
    ("version", "newer"),
    [
        ("0.10.2", [0, 10, 2]),
        ("0.10.2+cpu", [0, 10, 2]),
        ("0.14.1.post1", [0, 14, 1]),
        ("0.33.1.dev7+gabc", [0, 33, 1]),
    ],
)
def test_release_lacks_names_of_its_predecessors(
    monkeypatch: pytest.MonkeyPatch, version: str, newer: list[int]
) -> None:
    moved = of_release(monkeypatch, version)
    last = {move.last for moves in moved.values() for move in moves}
    assert last
    assert all(numbers(release) < newer for release in last)


def test_first_release_lacks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_release(monkeypatch, "0.6.3") == {}


@pytest.mark.parametrize("version", ["dev", "", None])
def test_distribution_gives_version_of_unknown_release(
    monkeypatch: pytest.MonkeyPatch, newest: MovedNames, version: str | None
) -> None:
    moved = of_release(monkeypatch, version)
    assert moved["vllm.utils"] == newest["vllm.utils"][: len(moved["vllm.utils"])]


def test_all_moves_apply_without_release(
    monkeypatch: pytest.MonkeyPatch, newest: MovedNames
) -> None:
    def missing(name: str) -> str:
        raise module.metadata.PackageNotFoundError(name)

    module = sys.modules["mhcs.vllm.moved_names"]
    monkeypatch.setattr(module.metadata, "version", missing)
    assert of_release(monkeypatch, None) == newest
