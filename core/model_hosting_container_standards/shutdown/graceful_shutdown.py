"""Graceful shutdown: finish running requests, refuse new ones, exit in time."""

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
#: The reason for clients; the engine's own error is in the log.
_DEATH: Final = "The engine is dead: this server is shutting down."
#: Seconds for the engine to stop after the requests.
_ENGINE_S: Final = 4.0
#: SageMaker's 30 seconds for a container to stop, less one.
_ALL_S: Final = 29.0
#: Interval of the heartbeats, in seconds.
_BEAT_S: Final = 0.2
#: Interval at which the supervisor's shutdown request is polled, in seconds: /ping has
#: to report a shutdown at once.
_POLL_S: Final = 0.05


class GracefulShutdown:
    """Shuts a server down gracefully, and kills the process if that takes too long.

    A shutdown starts with a signal, the supervisor's request, the server itself, or the
    death of its engine.

    Args:
        app: the app that the server serves.
        seconds: how long running requests may take before they are aborted.
        heartbeat: connects to the supervisor; None without one.
        serves_engine: whether serving is all that the process does; otherwise it may
            outlive its server.
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
        #: Whether the server handles the process's signals: only then it may be killed.
        self._owns_process = False
        #: Set to abort running requests at once.
        self._abort_now = asyncio.Event()
        self._shutdown: asyncio.Task[None] | None = None
        self._supervision: asyncio.Task[None] | None = None
        #: Kills the process, unless its server ends in time.
        self._timer: threading.Timer | None = None
        self._has_signal = False

    async def start(self) -> None:
        loop = self._tracker.loop = asyncio.get_running_loop()
        # The same app may be served a second time.
        self._tracker.closed = self._shutdown = None
        self._signals.install(loop)
        self._owns_process = self._signals.ends_server(signal.SIGTERM)
        add_callback(self._app, self._end_by_server)
        if self._heartbeat is not None:
            try:
                self._heartbeat.register()
            except OSError as error:
                logger.error("Cannot register with the supervisor: %s", error)
            else:
                self._supervision = loop.create_task(
                    self._follow_supervisor(self._heartbeat)
                )

    async def stop(self) -> None:
        """Remove signal handlers and heartbeat when the app's lifespan ends."""
        self._limit_server()
        self._signals.remove()
        remove_callback(self._app, self._end_by_server)
        self._tracker.loop = None
        if self._supervision is not None:
            self._supervision.cancel()
        if self._heartbeat is not None:
            self._heartbeat.deregister()

    async def finish(self) -> None:
        """Cancel the kill timer once the app's lifespan has ended completely."""
        if self._timer is not None and not self._serves_engine:
            self._timer.cancel()

    async def check_engine(self) -> Problem | None:
        """Return the engine's problem, if any; start a shutdown if it is dead."""
        problem = None if self._health is None else await self._health.problem()
        if problem is not None and problem.condition is Condition.DEAD:
            self._end_by_death(problem)
        return problem

    def _end_by_death(self, problem: Problem) -> None:
        """Shut down because the engine is dead and no request can be answered."""
        if not problem.ends_server or self._shutdown is not None:
            return
        logger.error("Shutting down: %s", problem.reason)
        now = time.monotonic()
        shutdown = self._begin(now, _DEATH)
        if self._owns_process:
            die_at(now + DEATH_S)
            shutdown.add_done_callback(lambda _: self._signals.deliver(signal.SIGTERM))

    def _end_by_signal(self, number: signal.Signals) -> None:
        if self._shutdown is not None and number == signal.SIGINT:
            self._abort_now.set()  # A second Ctrl-C, or an error of the engine.
        now = time.monotonic()
        if not self._has_signal:
            # The signal is for the process: it must exit even if its server does not.
            self._has_signal = True
            die_at(now + max(self._seconds + _ENGINE_S, _ALL_S))
        shutdown = self._begin(now + self._seconds)
        shutdown.add_done_callback(lambda _: self._signals.deliver(number))

    def _end_by_server(self) -> None:
        self._limit_server()
        self._begin(time.monotonic() + self._seconds)

    def _limit_server(self) -> None:
        """Start the timer that kills the process if its server does not end."""
        if self._owns_process and self._timer is None:
            seconds = max(self._seconds + _ENGINE_S, _ALL_S)
            self._timer = die_at(time.monotonic() + seconds)

    def _begin(self, deadline: float, reason: str = REASON) -> asyncio.Task[None]:
        """Start the shutdown once, and return its task."""
        if self._shutdown is None:
            seconds = max(0.0, deadline - time.monotonic())
            count = self._tracker.running
            logger.info("Shutting down: %d requests have %.0f s left", count, seconds)
            self._tracker.closed = reason
            self._shutdown = asyncio.ensure_future(self._end(deadline))
        return self._shutdown

    async def _end(self, deadline: float) -> None:
        """Wait for running requests, and abort what is left at the deadline."""
        awaited = [
            asyncio.ensure_future(self._tracker.wait_idle(deadline - time.monotonic())),
            asyncio.ensure_future(self._abort_now.wait()),
            asyncio.ensure_future(self._wait_for_engine_death()),
        ]
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        for task in awaited:
            task.cancel()
        if count := self._tracker.running:
            logger.warning("Aborting %d requests that are still running", count)
            await self._tracker.abort()

    async def _wait_for_engine_death(self) -> None:
        """Return once the engine is dead."""
        while True:
            problem = await self.check_engine()
            if problem is not None and problem.condition is Condition.DEAD:
                return
            await asyncio.sleep(_BEAT_S)

    async def _follow_supervisor(self, heartbeat: WorkerHeartbeat) -> None:
        """Send heartbeats, and shut down on the supervisor's request."""
        reporting = asyncio.ensure_future(self._send_heartbeats(heartbeat))
        try:
            await self._begin(await self._wait_for_shutdown_request(heartbeat))
            heartbeat.deregister()
        finally:
            reporting.cancel()

    async def _wait_for_shutdown_request(self, heartbeat: WorkerHeartbeat) -> float:
        """Return the deadline of the supervisor's shutdown request."""
        while True:
            if (deadline := heartbeat.deadline()) is not None:
                return deadline
            await asyncio.sleep(_POLL_S)

    async def _send_heartbeats(self, heartbeat: WorkerHeartbeat) -> None:
        while True:
            # In a task of its own, as the check may be slow.
            problem = await self.check_engine()
            heartbeat.report(problem.condition if problem else Condition.WELL)
            await asyncio.sleep(_BEAT_S)
