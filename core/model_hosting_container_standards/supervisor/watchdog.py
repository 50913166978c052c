"""Decide when a program has to be killed and restarted."""

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

#: Seconds. A longer gap between two checks means that this process was stopped; servers
#: then get as long to report again.
_PAUSE_S: Final = 5.0


class Watchdog:
    """Checks the heartbeats of a program's servers.

    A server with a dead engine is always restarted. It normally exits by itself, after
    it has answered its clients with an error; it is killed if it does not.
    """

    def __init__(self, heartbeats: HeartbeatDirectory, settings: Settings) -> None:
        self._heartbeats = heartbeats
        self._stall_s = settings.ping_stall
        self._kills_hung = settings.restart_on_hang
        self._checked_at = self._resumes_at = time.monotonic()
        #: When a dead engine was first reported.
        self._dead_at: float | None = None

    def restart_reason(self) -> str | None:
        """Return why the program has to be killed now; None if it may go on."""
        now = time.monotonic()
        checked_at, self._checked_at = self._checked_at, now
        if now - checked_at > _PAUSE_S:
            # The whole container may have been frozen, the servers too.
            self._resumes_at = now + _PAUSE_S
        if now < self._resumes_at:
            return None
        problem = self._heartbeats.problem(self._stall_s)
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

    def reset(self) -> None:
        """Discard the state of a program that has exited."""
        self._dead_at = None
        self._heartbeats.clear()
