"""The table of the names that vLLM moved, as it is committed."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from mhcs.vllm import engine
from model_hosting_container_standards.customer_code.moved_names import MovedNames


def of_release(monkeypatch: pytest.MonkeyPatch, version: str | None) -> MovedNames:
    """Return what a release has lost."""
    vllm = ModuleType("vllm")
    vllm.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    return engine.moved_names


def places(moved: MovedNames) -> dict[tuple[str, str], tuple[str, str] | None]:
    """Return where each name went, None if it is gone."""
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


def test_every_name_of_the_table_leads_to_an_end(newest: MovedNames) -> None:
    steps = places(newest)
    assert len(steps) > 1000
    for start in steps:
        seen = [start]
        while (step := steps.get(seen[-1])) is not None:
            assert step not in seen
            seen.append(step)


def test_a_module_has_lost_a_name_once(newest: MovedNames) -> None:
    names = [
        (m, name) for m, moves in newest.items() for v in moves for name in v.names
    ]
    assert len(names) == len({*names})
    assert all(module.startswith("vllm.") for module, _ in names)


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def test_the_moves_of_a_module_are_in_their_order(newest: MovedNames) -> None:
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
def test_a_release_has_lost_what_its_predecessors_had(
    monkeypatch: pytest.MonkeyPatch, version: str, newer: list[int]
) -> None:
    moved = of_release(monkeypatch, version)
    last = {move.last for moves in moved.values() for move in moves}
    assert last
    assert all(numbers(release) < newer for release in last)


def test_the_first_release_has_lost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_release(monkeypatch, "0.6.3") == {}


@pytest.mark.parametrize("version", ["dev", "", None])
def test_of_an_unknown_release_the_distribution_tells(
    monkeypatch: pytest.MonkeyPatch, newest: MovedNames, version: str | None
) -> None:
    moved = of_release(monkeypatch, version)
    assert moved["vllm.utils"] == newest["vllm.utils"][: len(moved["vllm.utils"])]


def test_without_a_release_all_that_is_known_counts(
    monkeypatch: pytest.MonkeyPatch, newest: MovedNames
) -> None:
    def missing(name: str) -> str:
        raise module.metadata.PackageNotFoundError(name)

    module = sys.modules["mhcs.vllm.moved_names"]
    monkeypatch.setattr(module.metadata, "version", missing)
    assert of_release(monkeypatch, None) == newest
