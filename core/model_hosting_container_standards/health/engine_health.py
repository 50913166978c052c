"""Whether the engine of a server is well."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import FastAPI

from ..engines.api import Engine
from ..exceptions import EngineUnhealthyError
from ..logging_config import get_logger
from ..processes.cpu_activity import CPUActivity
from ..processes.heartbeat import Condition, Problem
from ..tracking.request_tracker import RequestTracker

logger = get_logger(__name__)

#: How long a healthy engine may take to be heard within one /ping, in seconds. What
#: takes longer is told by the next one.
_PATIENCE_S: Final = 0.4
#: How long an engine that computes may be silent, in seconds: longer than SageMaker
#: waits for any answer.
_COMPUTES_S: Final = 600.0

Ask = Callable[[FastAPI], Awaitable[None]]


class SingleFlightProbe:
    """Something the engine is asked, once at a time, and answers or not."""

    def __init__(self, ask: Ask, app: FastAPI) -> None:
        self._ask = ask
        self._app = app
        self._task: asyncio.Task[None] | None = None
        self._asked_at = 0.0

    async def is_answered(self) -> bool:
        """Whether the engine answers now, or soon.

        Raises:
            EngineUnhealthyError: it says that it is dead.
        """
        if self._task is None or self._task.done():
            # What came after the last /ping, came nobody knows when.
            self._asked_at = time.monotonic()
            self._task = asyncio.ensure_future(self._ask(self._app))
            self._task.add_done_callback(_take_note)
        task = self._task
        await asyncio.wait({task}, timeout=_PATIENCE_S)
        if not task.done():
            return False
        if self._task is task:
            self._task = None
        if not task.cancelled():
            task.result()
        return True

    def waited(self) -> float:
        """Return for how many seconds the answer has been due."""
        return 0.0 if self._task is None else time.monotonic() - self._asked_at

    def cancel(self) -> None:
        """Wait for the answer no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None


def _take_note(answered: asyncio.Task[None]) -> None:
    """Spare asyncio the words that nobody has asked what was wrong."""
    if not answered.cancelled():
        answered.exception()


class EngineHealth:
    """Says what is wrong with a server's engine, within a second.

    An engine is hung when it does not generate a token that we ask it for, whatever
    requests are waiting for. It is asked when nothing has come of any for half of the
    stall time. While its processes compute, it has more time for both.

    Args:
        stall_s: how long the engine may be silent before it is called hung.
    """

    def __init__(
        self, engine: Engine, app: FastAPI, tracker: RequestTracker, stall_s: float
    ) -> None:
        self._tracker = tracker
        self._stall_s = stall_s
        self._check = SingleFlightProbe(engine.check, app)
        self._probe_generation = SingleFlightProbe(self._see_work, app)
        self._activity = CPUActivity(lambda: engine.processes(app))
        self._engine = engine
        self._is_ill = False
        #: Errors that the log has already: it is asked several times a second.
        self._logged: set[type[Exception]] = set()

    async def problem(self) -> Problem | None:
        """Return what is wrong, or None if the engine is well."""
        problem = await self._find()
        if problem is not None and not self._is_ill:
            logger.error("/ping answers 503: %s", problem.reason)
        elif problem is None and self._is_ill:
            logger.warning("/ping answers again: the engine is well.")
        self._is_ill = problem is not None
        return problem

    async def _find(self) -> Problem | None:
        try:
            if not await self._check.is_answered():
                return self._hung(self._check)
            # A request that is not streamed may take long: then its engine is tried.
            if self._tracker.closed or self._tracker.silence() < self._stall_s / 2:
                self._probe_generation.cancel()
            elif not await self._probe_generation.is_answered():
                # Not the silence: nobody knows what the engine did before it was tried.
                return self._hung(self._probe_generation)
        except EngineUnhealthyError as error:
            return Problem(Condition.DEAD, str(error), not error.keeps_server)
        except Exception as error:
            # An engine that is other than we know it is not ill for that.
            if type(error) not in self._logged:
                self._logged.add(type(error))
                logger.exception("The engine's health cannot be told")
        self._activity.forget()
        return None

    async def _see_work(self, app: FastAPI) -> None:
        await self._engine.probe_generation(app)
        self._tracker.note_progress()

    def _hung(self, question: SingleFlightProbe) -> Problem | None:
        """Return that the engine is hung, if it has been silent and idle for long."""
        waited, idle = question.waited(), self._activity.idle_s()
        if min(waited, idle) < self._stall_s and waited < self._stall_s + _COMPUTES_S:
            return None
        reason = f"The engine is hung: it has not answered for {waited:.0f} s."
        return Problem(Condition.HUNG, reason)

    def close(self) -> None:
        self._check.cancel()
        self._probe_generation.cancel()
