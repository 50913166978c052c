"""Adapter leases of an HTTP request: a name refers to one adapter until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from .adapter import Adapter
from .leases import AdapterLeases

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]


class RequestLeases:
    """The adapters that one HTTP request has leased, by name.

    An engine may look a name up several times for one request: for each prompt, each
    token of a beam search, each round of tool calls. All lookups return the adapter
    that the first one found, even if it is unregistered or replaced meanwhile.
    """

    is_over = False
    #: The adapter that the request's header or its model field names.
    selected: Adapter | None = None
    #: The name of an adapter of the engine's own that they name instead.
    selected_own: str | None = None
    #: The request itself, and its tasks that outlive the response.
    _users = 1
    _has_tasks = False

    def __init__(self, leases: AdapterLeases) -> None:
        self.leases = leases
        self.by_name: dict[str, Adapter] = {}

    def forget(self, name: str) -> None:
        """Release an adapter that the request has not used yet."""
        if adapter := self.by_name.pop(name, None):
            self.leases.release(adapter)

    def extend(self, work: Work[T]) -> Coroutine[Any, Any, T]:
        """Wrap work for a task, so that the leases last until the work is done."""
        self._has_tasks = True
        return self._run(work)

    async def _run(self, work: Work[T]) -> T:
        self._users += 1
        try:
            return await work()
        finally:
            self.release()

    def release(self) -> None:
        """End the request, or one of its tasks; the last one releases the leases."""
        self._users -= 1
        if self._has_tasks:
            # Deferred, so that a task that was just created can start and be counted.
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


#: Set during a request, also in the tasks that it starts.
CURRENT: Final[ContextVar[RequestLeases | None]] = ContextVar("leases", default=None)


def current_leases(leases: AdapterLeases) -> RequestLeases | None:
    """Return the leases of the current HTTP request; None outside of requests.

    Tasks that a request has started share its leases until the request ends.
    """
    current = CURRENT.get()
    if current is None or current.is_over or current.leases is not leases:
        return None
    return current
