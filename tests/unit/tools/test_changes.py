"""A benchmark says what became slower than in the stored run, beyond its noise."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from venvs import ROOT


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("changes")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((1.10, 1.09, 1.11), (1.20, 1.19, 1.21), "SLOWER"),
        ((1.20, 1.19, 1.21), (1.10, 1.09, 1.11), "faster"),
        # Its own starts were further apart.
        ((1.10, 1.09, 1.11), (1.20, 1.05, 1.25), ""),
        ((1.10, 1.00, 1.20), (1.20, 1.19, 1.21), ""),
        # Less than two in a hundred.
        ((1.10, 1.10, 1.10), (1.12, 1.12, 1.12), ""),
        ((1.10, 1.10, 1.10), (1.13, 1.13, 1.13), "SLOWER"),
    ],
)
def test_change_counts_beyond_the_noise(
    changes: Any, before: Any, after: Any, expected: str
) -> None:
    old, new = ({"small": {"ours": changes.Measured(*run)}} for run in (before, after))
    found = changes.describe([*changes.find_changes(old, new)], "abc")
    line = f"small, ours: {before[0]:.2f} -> {after[0]:.2f}"
    assert (line in found) is bool(expected)
    assert found.startswith(expected)


def test_published_package_shows_how_much_is_noise(changes: Any) -> None:
    """Its code is the same in both runs, and so is what it changes by."""
    one, more = changes.Measured(1.0, 1.0, 1.0), changes.Measured(1.1, 1.1, 1.1)
    before = {"a": {"published": one, "ours": one}}
    quiet = {"a": {"published": one, "ours": more}}
    noisy = {"a": {"published": more, "ours": more}}
    slower = [
        [
            change.title
            for change in changes.find_changes(before, after)
            if change.is_slower
        ]
        for after in (quiet, noisy)
    ]
    assert slower == [["a, ours"], []]


def test_summary_counts_every_figure(changes: Any) -> None:
    same, slow = changes.Measured(1.0, 1.0, 1.0), changes.Measured(2.0, 2.0, 2.0)
    before = {"a": {"ours": same, "newest": same}}
    after = {"a": {"ours": slow, "newest": same}}
    found = changes.describe([*changes.find_changes(before, after)], "abc")
    assert found.endswith(
        "compared with abc: 1 slower and 0 faster by more than the noise, 1 the same"
    )


def test_figures_that_one_run_lacks_are_left_out(changes: Any) -> None:
    figure = changes.Measured(1.0, 1.0, 1.0)
    before = {"a": {"published": figure}, "b": {"ours": figure}}
    after = {"a": {"ours": figure}, "c": {"ours": figure}}
    assert not [*changes.find_changes(before, after)]


def test_noise_is_that_of_repetitions_in_turns(changes: Any) -> None:
    drifting = [float(number) for number in range(40)]
    found = changes.Measured.of(drifting)
    assert (found.value, found.low, found.high) == (19.5, 18.0, 21.0)


def test_run_is_stored_with_its_revision(changes: Any, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert changes.read_run(path) is None
    run = {"a": {"ours": changes.Measured(1.5, 1.0, 2.0)}}
    changes.write_run(path, run)
    assert changes.read_run(path) == (run, "an unknown revision")
