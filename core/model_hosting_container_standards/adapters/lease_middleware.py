"""The adapters of an HTTP request: a name means one adapter from first use to end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVar

from starlette.types import ASGIApp, Receive, Scope, Send

from .adapter import Adapter
from .runtime import Lifecycle

if TYPE_CHECKING:
    from .registry import Adapters


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

    def __init__(self, adapters: Adapters) -> None:
        self.adapters = adapters
        self.by_name: dict[str, Adapter] = {}

    def forget(self, name: str) -> None:
        """Give an adapter back before the request's end: nothing was computed by it."""
        if adapter := self.by_name.pop(name, None):
            self.adapters.leases.give_back(adapter)

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
        if self._users:
            return
        self.is_over = True
        for adapter in self.by_name.values():
            self.adapters.leases.give_back(adapter)


_CURRENT: Final[ContextVar[RequestLeases | None]] = ContextVar("leases", default=None)


def current_leases(adapters: Adapters) -> RequestLeases | None:
    """Return what the HTTP request under way has leased; None outside of requests.

    Tasks that a request has started have its leases too, as long as it is not over.
    """
    leases = _CURRENT.get()
    if leases is None or leases.is_over or leases.adapters is not adapters:
        return None
    return leases


def leased_by_request(adapters: Adapters) -> Mapping[str, Adapter]:
    """Return the adapters of the HTTP request under way, by name."""
    leases = current_leases(adapters)
    return {} if leases is None else leases.by_name


def outliving_request(adapters: Adapters, work: Work[T]) -> Coroutine[Any, Any, T]:
    """Return work for a task that keeps the leases of the request under way."""
    leases = current_leases(adapters)
    return work() if leases is None else leases.go_on(work)


class LeaseMiddleware:
    """Gives each HTTP request leases of its own, on a server that has adapters.

    No coroutine of its own where there are none: every request pays for it.
    """

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle) -> None:
        self.app = app
        self.lifecycle = lifecycle

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        adapters = self.lifecycle.current
        if adapters is None or scope["type"] != "http":
            return self.app(scope, receive, send)
        return self._answer(RequestLeases(adapters), scope, receive, send)

    async def _answer(
        self, leases: RequestLeases, scope: Scope, receive: Receive, send: Send
    ) -> None:
        token = _CURRENT.set(leases)
        try:
            await self.app(scope, receive, send)
        finally:
            _CURRENT.reset(token)
            leases.release()
