"""The end of a server: what it is answering is answered, and nothing new begun."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from typing import Final

from ...logging_config import get_logger
from ...supervisor.board import Seat
from ...supervisor.orphans import die_with_descendants
from .deferred_signal import DeferredSignal
from .health import Health
from .traffic import Traffic

logger = get_logger(__name__)

REASON: Final = "This server is shutting down."
#: How long the engine may take to end once nothing is left to answer, in seconds.
_ENGINE_S: Final = 4.0
#: What SageMaker gives a container to end, but for a second.
_ALL_S: Final = 29.0
#: How often the supervisor is told that the server lives.
_BEAT_S: Final = 0.2
#: How often it is looked at: /ping is to say at once that the server ends.
_LOOK_S: Final = 0.05


class Drain:
    """Lets a server finish when it is told to end by SIGTERM, or by its supervisor.

    Args:
        seconds: how long requests may take; what is left then is cut short.
        seat: where the supervisor is, if there is one.
    """

    def __init__(
        self, traffic: Traffic, seconds: int, seat: Seat | None, health: Health | None
    ) -> None:
        self._traffic = traffic
        self._seconds = seconds
        self._seat = seat
        self._health = health
        self._signal = DeferredSignal(signal.SIGTERM, self._end_by_signal)
        self._ending: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        loop = self._traffic.loop = asyncio.get_running_loop()
        self._signal.install(loop)
        if self._seat is not None:
            try:
                self._seat.take()
            except OSError as error:
                logger.error("The supervisor will not know of this server: %s", error)
            else:
                self._watching = loop.create_task(self._watch(self._seat))

    async def stop(self) -> None:
        """The app ends, whoever has told it to."""
        self._signal.remove()
        self._traffic.loop = None
        if self._watching is not None:
            self._watching.cancel()
        if self._seat is not None:
            self._seat.leave()

    def _end_by_signal(self) -> None:
        now = time.monotonic()
        deadline = now + self._seconds
        _end_the_process_at(max(deadline + _ENGINE_S, now + _ALL_S))
        self._begin(deadline).add_done_callback(lambda _: self._signal.deliver())

    def _begin(self, deadline: float) -> asyncio.Task[None]:
        """Begin to end, once."""
        if self._ending is None:
            seconds = max(0.0, deadline - time.monotonic())
            count = self._traffic.running
            logger.info("Shutting down: %d requests have %.0f s", count, seconds)
            self._traffic.closed = REASON
            self._ending = asyncio.ensure_future(self._end(deadline))
        return self._ending

    async def _end(self, deadline: float) -> None:
        await self._traffic.run_out(deadline - time.monotonic())
        if count := self._traffic.running:
            logger.warning("The time is up: %d requests are cut short", count)
            await self._traffic.cut()
        if self._seat is not None:
            self._seat.leave()

    async def _watch(self, seat: Seat) -> None:
        reporting = asyncio.ensure_future(self._report(seat))
        try:
            self._begin(await self._told(seat))
        finally:
            reporting.cancel()

    async def _told(self, seat: Seat) -> float:
        while True:
            if (deadline := seat.deadline()) is not None:
                return deadline
            await asyncio.sleep(_LOOK_S)

    async def _report(self, seat: Seat) -> None:
        while True:
            # It may take its time, which nobody who looks for the end has.
            problem = None if self._health is None else await self._health.problem()
            seat.report(is_hung=problem is not None)
            await asyncio.sleep(_BEAT_S)


def _end_the_process_at(deadline: float) -> None:
    """Be gone by then, whatever an engine is still waiting for."""
    seconds = deadline - time.monotonic()
    timer = threading.Timer(seconds, die_with_descendants)
    timer.daemon = True
    timer.start()
