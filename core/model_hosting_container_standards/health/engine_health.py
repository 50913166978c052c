"""Check the health of a server's engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from ..engines.runtime import EngineRuntime
from ..exceptions import EngineUnhealthyError
from ..logging_config import get_logger
from ..processes.cpu_activity import CPUActivity
from ..processes.heartbeat import Condition, Problem

logger = get_logger(__name__)

#: Seconds that one /ping waits for a token of the engine. A later one is reported by
#: the next.
_GENERATION_WAIT_S: Final = 0.4
#: Seconds that an engine with CPU activity may go without an answer: longer than
#: SageMaker waits for any response.
_COMPUTES_S: Final = 600.0

Probe = Callable[[], Awaitable[None]]


class RunningRequests(Protocol):
    """The requests of a server, and when the engine last made progress on them."""

    #: Why new requests are refused; None while they are accepted.
    closed: str | None

    def silence(self) -> float:
        """Return for how many seconds requests have waited without any progress."""

    def note_progress(self) -> None:
        """Record that the engine has made progress."""


class SingleFlightProbe:
    """Runs a probe of the engine, at most one at a time.

    Args:
        probe: returns if the engine answers; raises :class:`EngineUnhealthyError` if
            the engine is dead.
    """

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._task: asyncio.Task[None] | None = None
        self._started_at = 0.0

    async def succeeds(self, seconds: float) -> bool:
        """Whether the probe succeeds within ``seconds``.

        A slower probe goes on, and the next call waits for the same one.

        Raises:
            EngineUnhealthyError: the engine is dead.
        """
        if self._task is None or self._task.done():
            # A result from after the last call has an unknown age: probe again.
            self._started_at = time.monotonic()
            self._task = asyncio.ensure_future(self._probe())
            self._task.add_done_callback(retrieve_exception)
        task = self._task
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            return False
        if self._task is task:
            self._task = None
        if not task.cancelled():
            task.result()
        return True

    def waited_s(self) -> float:
        """Return for how many seconds the probe has been running."""
        return 0.0 if self._task is None else time.monotonic() - self._started_at

    def cancel(self) -> None:
        """Cancel the running probe, if there is one."""
        if self._task is not None:
            self._task.cancel()
            self._task = None


def retrieve_exception(task: asyncio.Task[None]) -> None:
    """Retrieve the exception, so that asyncio does not log it."""
    if not task.cancelled():
        task.exception()


class EngineHealth:
    """Finds problems of a server's engine, within a second.

    An engine is hung when it does not answer a check, or does not generate a token for
    our probe. The probe starts when requests have waited for half of ``stall_s``
    without progress. While the engine's processes compute, both may take longer.

    Args:
        engine: returns the engine's runtime; called once the app has started.
        stall_s: seconds without an answer after which the engine is hung.
    """

    def __init__(
        self,
        engine: Callable[[], EngineRuntime],
        requests: RunningRequests,
        stall_s: float,
    ) -> None:
        self._requests = requests
        self._stall_s = stall_s
        self._check = SingleFlightProbe(lambda: engine().check())
        self._generation = SingleFlightProbe(self._generate)
        self._activity = CPUActivity(lambda: engine().processes())
        self._engine = engine
        self._has_problem = False
        #: Types of errors that have been logged: checks run several times a second.
        self._logged: set[type[Exception]] = set()

    async def problem(self) -> Problem | None:
        """Return the engine's problem, or None if it is healthy; log each change."""
        problem = await self._find_problem()
        if problem is not None and not self._has_problem:
            logger.error("/ping answers 503: %s", problem.reason)
        elif problem is None and self._has_problem:
            logger.warning("/ping answers 200 again: the engine has recovered.")
        self._has_problem = problem is not None
        return problem

    async def _find_problem(self) -> Problem | None:
        try:
            if not await self._check.succeeds(self._engine().check_wait_s):
                return self._hung(self._check)
            # A response that is not streamed may take long without visible progress:
            # the probe then tells whether the engine still generates.
            if self._requests.closed or self._requests.silence() < self._stall_s / 2:
                self._generation.cancel()
            elif not await self._generation.succeeds(_GENERATION_WAIT_S):
                # Only the probe's time counts: there may have been invisible progress.
                return self._hung(self._generation)
        except EngineUnhealthyError as error:
            return Problem(Condition.DEAD, str(error), not error.keeps_server)
        except Exception as error:
            # An engine with an unknown interface must not be called unhealthy for it.
            if type(error) not in self._logged:
                self._logged.add(type(error))
                logger.exception("The engine's health check failed unexpectedly")
        self._activity.reset()
        return None

    async def _generate(self) -> None:
        await self._engine().probe_generation()
        self._requests.note_progress()

    def _hung(self, probe: SingleFlightProbe) -> Problem | None:
        """Return a problem if a probe has run too long while the engine was idle."""
        waited, idle = probe.waited_s(), self._activity.idle_s()
        if min(waited, idle) < self._stall_s and waited < self._stall_s + _COMPUTES_S:
            return None
        reason = f"The engine is hung: it has not answered for {waited:.0f} s."
        return Problem(Condition.HUNG, reason)

    def close(self) -> None:
        self._check.cancel()
        self._generation.cancel()
