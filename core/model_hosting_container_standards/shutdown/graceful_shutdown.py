"""The end of a server: what it is answering is answered, and nothing new begun."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from typing import Final

from fastapi import FastAPI

from ..health.engine_health import EngineHealth
from ..logging_config import get_logger
from ..processes.heartbeat import DEATH_S, Condition, Problem, WorkerHeartbeat
from ..processes.tree import die_at
from ..tracking.request_tracker import RequestTracker
from .deferred_signals import DeferredSignals
from .server_shutdown import add_callback, remove_callback

logger = get_logger(__name__)

REASON: Final = "This server is shutting down."
#: What clients get to know; the log has the engine's own words.
_DEATH: Final = "The engine is dead: this server is shutting down."
#: How long the engine may take to end once nothing is left to answer, in seconds.
_ENGINE_S: Final = 4.0
#: What SageMaker gives a container to end, but for a second.
_ALL_S: Final = 29.0
#: How often the supervisor is told that the server lives.
_BEAT_S: Final = 0.2
#: How often it is looked at: /ping is to say at once that the server ends.
_LOOK_S: Final = 0.05


class GracefulShutdown:
    """Lets a server finish, whatever has it end, and has the process gone in time.

    It ends by a signal, by its supervisor's word, by itself, or with its engine.

    Args:
        app: what the server serves.
        seconds: how long requests may take; what is left then is cut short.
        seat: where the supervisor is, if there is one.
        serves_engine: whether the process does nothing but serve; else it may go on
            after its server.
    """

    def __init__(
        self,
        app: FastAPI,
        tracker: RequestTracker,
        seconds: int,
        heartbeat: WorkerHeartbeat | None,
        health: EngineHealth | None,
        *,
        serves_engine: bool,
    ) -> None:
        self._app = app
        self._tracker = tracker
        self._seconds = seconds
        self._heartbeat = heartbeat
        self._health = health
        self._serves_engine = serves_engine
        numbers = (signal.SIGTERM, signal.SIGINT)
        self._signals = DeferredSignals(numbers, self._end_by_signal)
        #: Whether the process is the server's: only then it may be killed.
        self._is_process = False
        #: Set when requests must not be waited for any longer.
        self._hurry = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        #: Kills the process, unless its server ends in time.
        self._timer: threading.Timer | None = None
        self._has_signal = False

    async def start(self) -> None:
        loop = self._tracker.loop = asyncio.get_running_loop()
        self._tracker.closed = self._ending = None  # It may be served again.
        self._signals.install(loop)
        self._is_process = self._signals.ends_server(signal.SIGTERM)
        add_callback(self._app, self._end_by_server)
        if self._heartbeat is not None:
            try:
                self._heartbeat.register()
            except OSError as error:
                logger.error("The supervisor will not know of this server: %s", error)
            else:
                self._watching = loop.create_task(self._watch(self._heartbeat))

    async def stop(self) -> None:
        """The app ends, whoever has told it to."""
        self._limit_server()
        self._signals.remove()
        remove_callback(self._app, self._end_by_server)
        self._tracker.loop = None
        if self._watching is not None:
            self._watching.cancel()
        if self._heartbeat is not None:
            self._heartbeat.deregister()

    async def finish(self) -> None:
        """The app has ended, and all that is in it."""
        if self._timer is not None and not self._serves_engine:
            self._timer.cancel()

    async def look_at_engine(self) -> Problem | None:
        """Return what is wrong with the engine, if anything is; end if it is dead."""
        problem = None if self._health is None else await self._health.problem()
        if problem is not None and problem.condition is Condition.DEAD:
            self._end_by_death(problem)
        return problem

    def _end_by_death(self, problem: Problem) -> None:
        """End with the engine: nothing can be answered any more."""
        if not problem.ends_server or self._ending is not None:
            return
        logger.error("This server ends: %s", problem.reason)
        now = time.monotonic()
        ending = self._begin(now, _DEATH)
        if self._is_process:
            die_at(now + DEATH_S)
            ending.add_done_callback(lambda _: self._signals.deliver(signal.SIGTERM))

    def _end_by_signal(self, number: signal.Signals) -> None:
        if self._ending is not None and number == signal.SIGINT:
            self._hurry.set()  # Somebody is in a hurry, or the engine has an error.
        now = time.monotonic()
        if not self._has_signal:
            # Whatever comes of its server, the process was told to end.
            self._has_signal = True
            die_at(now + max(self._seconds + _ENGINE_S, _ALL_S))
        ending = self._begin(now + self._seconds)
        ending.add_done_callback(lambda _: self._signals.deliver(number))

    def _end_by_server(self) -> None:
        self._limit_server()
        self._begin(time.monotonic() + self._seconds)

    def _limit_server(self) -> None:
        """Kill the process if the server takes too long to end, from now on."""
        if self._is_process and self._timer is None:
            seconds = max(self._seconds + _ENGINE_S, _ALL_S)
            self._timer = die_at(time.monotonic() + seconds)

    def _begin(self, deadline: float, reason: str = REASON) -> asyncio.Task[None]:
        """Begin to end, once."""
        if self._ending is None:
            seconds = max(0.0, deadline - time.monotonic())
            count = self._tracker.running
            logger.info("Shutting down: %d requests have %.0f s", count, seconds)
            self._tracker.closed = reason
            self._ending = asyncio.ensure_future(self._end(deadline))
        return self._ending

    async def _end(self, deadline: float) -> None:
        awaited = [
            asyncio.ensure_future(self._tracker.wait_idle(deadline - time.monotonic())),
            asyncio.ensure_future(self._hurry.wait()),
            asyncio.ensure_future(self._engine_dies()),
        ]
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        for task in awaited:
            task.cancel()
        if count := self._tracker.running:
            logger.warning("The time is up: %d requests are cut short", count)
            await self._tracker.abort()

    async def _engine_dies(self) -> None:
        """Return once the engine is known to be dead."""
        while True:
            problem = await self.look_at_engine()
            if problem is not None and problem.condition is Condition.DEAD:
                return
            await asyncio.sleep(_BEAT_S)

    async def _watch(self, heartbeat: WorkerHeartbeat) -> None:
        reporting = asyncio.ensure_future(self._report(heartbeat))
        try:
            await self._begin(await self._told(heartbeat))
            heartbeat.deregister()
        finally:
            reporting.cancel()

    async def _told(self, heartbeat: WorkerHeartbeat) -> float:
        while True:
            if (deadline := heartbeat.deadline()) is not None:
                return deadline
            await asyncio.sleep(_LOOK_S)

    async def _report(self, heartbeat: WorkerHeartbeat) -> None:
        while True:
            # It may take its time, which nobody who looks for the end has.
            problem = await self.look_at_engine()
            heartbeat.report(problem.condition if problem else Condition.WELL)
            await asyncio.sleep(_BEAT_S)
