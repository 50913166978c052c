"""Measures all sides alternately, so that other load affects all of them equally."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Protocol

from sides import Pair, Side
from traffic import Case


class Measurable(Protocol):
    """A side that has been started."""

    def measure(self, case: Case, rounds: int) -> list[Pair]:
        """Return a pair for each round."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured.

    Args:
        starts: how often each side's process is restarted; its memory layout changes
            results by a few percent.
        visits: how often each case is measured on each side, alternately.
        rounds: how often a visit measures the bare and the decorated app, alternately.
    """

    starts: int
    visits: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Figure:
    """Medians of all rounds: microseconds per request, and the ratio of the pairs.

    ``spread`` is the least and the greatest ratio among the process starts.
    """

    bare: float
    decorated: float
    ratio: float
    spread: tuple[float, float]


#: By the names of the case and the side.
Figures = dict[tuple[str, str], Figure]
_Pairs = dict[tuple[str, str], list[list[Pair]]]


def compare(
    start: Callable[[Side], Measurable],
    sides: Sequence[Side],
    cases: Sequence[Case],
    effort: Effort,
) -> Figures:
    """Measure every case on every side that supports it."""
    pairs: _Pairs = {}
    for _ in range(effort.starts):
        for key, found in _compare_once(start, sides, cases, effort).items():
            pairs.setdefault(key, []).append(found)
    return {key: _summarise(found) for key, found in pairs.items()}


def _compare_once(
    start: Callable[[Side], Measurable],
    sides: Sequence[Side],
    cases: Sequence[Case],
    effort: Effort,
) -> dict[tuple[str, str], list[Pair]]:
    pairs: dict[tuple[str, str], list[Pair]] = {}
    with ExitStack() as stack:
        started = {
            side.name: stack.enter_context(closing(start(side))) for side in sides
        }
        for _ in range(effort.visits):
            for case, side in itertools.product(cases, sides):
                if side.has(case):
                    found = started[side.name].measure(case, effort.rounds)
                    pairs.setdefault((case.name, side.name), []).extend(found)
    return pairs


def _summarise(starts: list[list[Pair]]) -> Figure:
    pairs = [pair for start in starts for pair in start]
    ratios = [_median_ratio(start) for start in starts]
    return Figure(
        statistics.median(bare for bare, _ in pairs),
        statistics.median(decorated for _, decorated in pairs),
        _median_ratio(pairs),
        (min(ratios), max(ratios)),
    )


def _median_ratio(pairs: Iterable[Pair]) -> float:
    return statistics.median(decorated / bare for bare, decorated in pairs)
