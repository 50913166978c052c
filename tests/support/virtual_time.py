"""An event loop whose time passes only while nothing else is to be done.

A timeout of a minute ends at once, unless what it waits for happens first. Time stands
still while worker threads run, so that no timeout depends on the machine's speed::

    @in_virtual_time
    async def test_timeout() -> None:
        await asyncio.sleep(60)
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Final, ParamSpec

from anyio import CapacityLimiter
from anyio.to_thread import current_default_thread_limiter

P = ParamSpec("P")

#: Seconds by which a timer is late, as timers are: never early by a rounding error.
_LATE_S: Final = 1e-6


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop with a time of its own, which begins at zero."""

    def __init__(self) -> None:
        self._idle = _Selector()
        super().__init__(self._idle)
        self._idle.threads = self.run_until_complete(_find_limiter())

    def time(self) -> float:
        return self._idle.now

    def close(self) -> None:
        """Cancel all tasks, and close the loop."""
        if not self.is_closed():
            self.run_until_complete(_cancel_all(asyncio.all_tasks(self)))
        super().close()


class _Selector(selectors.DefaultSelector):
    """Waits for the worker threads only."""

    now = 0.0
    threads: CapacityLimiter | None = None

    def select(self, timeout: float | None = None) -> Any:
        if self.threads is None or self.threads.borrowed_tokens:
            return super().select(timeout if timeout == 0 else None)
        events = super().select(0)
        if not events and timeout != 0:
            assert timeout is not None, "Nothing will ever happen."
            self.now += max(0.0, timeout) + _LATE_S
        return events


async def _cancel_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _find_limiter() -> CapacityLimiter:
    return current_default_thread_limiter()


def in_virtual_time(
    test: Callable[P, Coroutine[Any, Any, None]],
) -> Callable[P, None]:
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        loop = VirtualTimeLoop()
        try:
            loop.run_until_complete(test(*args, **kwargs))
        finally:
            loop.close()

    return run
