"""Measures how long it takes to create sessions, and how long the event loop stalls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from operations import Operations, medians
from sides import Script, Side


def measure_sessions(starts: int, expired: int, side: Side) -> Operations:
    """Return the medians over ``starts`` processes with ``expired`` sessions each."""
    return medians(pair for _ in range(starts) for pair in _measure_once(expired, side))


def _measure_once(expired: int, side: Side) -> Iterator[tuple[str, float]]:
    values = ["values"] if side.environment.ours else []
    script = Script(side, "session_worker.py", str(expired), *values)
    with closing(script):
        yield from script.receive().items()
