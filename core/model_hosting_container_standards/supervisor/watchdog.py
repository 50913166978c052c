"""When a program has to be killed, to be started again."""

from __future__ import annotations

import time
from typing import Final

from ..processes.heartbeat import (
    DEATH_S,
    LAST_WORD_S,
    Condition,
    HeartbeatDirectory,
    Problem,
)
from ..settings import Settings

#: Longer than supervisord ever waits; and time enough for servers to report.
_PAUSE_S: Final = 5.0


class Watchdog:
    """Looks at the servers of a program, which supervisord does not know.

    A dead engine always has its server restarted. The server knows it too, and ends by
    itself, with a word to each of its clients; it is killed if it does not.
    """

    def __init__(self, board: HeartbeatDirectory, settings: Settings) -> None:
        self._board = board
        self._stall_s = settings.ping_stall
        self._kills_hung = settings.restart_on_hang
        self._looked_at = self._patient_until = time.monotonic()
        #: When a dead engine was first heard of.
        self._dead_at: float | None = None

    def look(self) -> str | None:
        """Say why the program has to be killed now, if it has to."""
        now = time.monotonic()
        looked_at, self._looked_at = self._looked_at, now
        if now - looked_at > _PAUSE_S:
            # This process stood still too, as all of a container may be made to.
            self._patient_until = now + _PAUSE_S
        if now < self._patient_until:
            return None
        problem = self._board.problem(self._stall_s)
        if problem is None or problem.condition is not Condition.DEAD:
            self._dead_at = None
        if problem is None or not self._must_be_killed(problem, now):
            return None
        return problem.reason

    def _must_be_killed(self, problem: Problem, now: float) -> bool:
        if problem.condition is not Condition.DEAD:
            return self._kills_hung
        self._dead_at = self._dead_at or now
        return now - self._dead_at > DEATH_S + LAST_WORD_S

    def forget(self) -> None:
        """Forget a program that has ended."""
        self._dead_at = None
        self._board.clear()
