"""How long it takes to begin sessions, and how long everything else waits meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from operations import Operations, medians
from sides import Script, Side


def measure_sessions(starts: int, expired: int, side: Side) -> Operations:
    """Return the medians of so many processes, each with so many expired sessions."""
    return medians(pair for _ in range(starts) for pair in _measure_once(expired, side))


def _measure_once(expired: int, side: Side) -> Iterator[tuple[str, float]]:
    values = ["values"] if side.environment.ours else []
    script = Script(side, "session_worker.py", str(expired), *values)
    with closing(script):
        yield from script.hear().items()
