"""The adapters of an HTTP request: a name means one adapter from first use to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from .adapter import Adapter
from .leases import Leases

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]


class RequestLeases:
    """What one HTTP request has leased, by name, until it is over.

    An engine may look a name up several times for a request, and compute as often: for
    each prompt, each token of a beam search, each round of tools. All of it is done by
    the adapter that the name meant first, though it be unregistered or replaced.
    """

    is_over = False
    #: The request itself, and work of it that goes on after its response.
    _users = 1
    _goes_on = False

    def __init__(self, leases: Leases) -> None:
        self.leases = leases
        self.by_name: dict[str, Adapter] = {}

    def forget(self, name: str) -> None:
        """Give an adapter back before the request's end: nothing was computed by it."""
        if adapter := self.by_name.pop(name, None):
            self.leases.release(adapter)

    def go_on(self, work: Work[T]) -> Coroutine[Any, Any, T]:
        """Return work that a task may do after the response, by the same adapters."""
        self._goes_on = True
        return self._do(work)

    async def _do(self, work: Work[T]) -> T:
        self._users += 1
        try:
            return await work()
        finally:
            self.release()

    def release(self) -> None:
        """End the request, or work of it."""
        self._users -= 1
        if self._goes_on:
            # Not before a task that has been made for it has begun.
            asyncio.get_running_loop().call_soon(self._end)
        else:
            self._end()

    def _end(self) -> None:
        # Each user that ends asks for it, and several may within one turn of the loop.
        if self._users or self.is_over:
            return
        self.is_over = True
        for adapter in self.by_name.values():
            self.leases.release(adapter)


#: Set for the time of a request, also in the tasks that it starts.
CURRENT: Final[ContextVar[RequestLeases | None]] = ContextVar("leases", default=None)


def current_leases(leases: Leases) -> RequestLeases | None:
    """Return what the HTTP request under way has leased; None outside of requests.

    Tasks that a request has started have its leases too, as long as it is not over.
    """
    current = CURRENT.get()
    if current is None or current.is_over or current.leases is not leases:
        return None
    return current
