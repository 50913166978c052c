"""The adapters of an HTTP request: a name means one adapter from first use to end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from .adapter import Adapter
from .lifecycle import Lifecycle

if TYPE_CHECKING:
    from .adapters import Adapters


class RequestLeases:
    """What one HTTP request has leased, by name, until it is over.

    An engine may look a name up several times for a request, and compute as often: for
    each prompt, each token of a beam search, each round of tools. All of it is done by
    the adapter that the name meant first, though it be unregistered or replaced.
    """

    __slots__ = ("_users", "adapters", "by_name", "is_over")

    def __init__(self, adapters: Adapters) -> None:
        self.adapters = adapters
        self.by_name: dict[str, Adapter] = {}
        self.is_over = False
        #: The request itself, and work of it that goes on after its response.
        self._users = 1

    def add(self, adapter: Adapter) -> Adapter:
        """Take over a lease from the caller, and return its adapter."""
        self.by_name[adapter.name] = adapter
        return adapter

    def forget(self, name: str) -> None:
        """Give an adapter back before the request's end: nothing was computed by it."""
        if adapter := self.by_name.pop(name, None):
            self.adapters.give_back(adapter)

    def hold(self) -> None:
        """Let work go on by these adapters until it calls :meth:`release`."""
        self._users += 1

    def release(self) -> None:
        self._users -= 1
        if self.by_name:
            # Not at once: a task that the request has just started may hold them yet.
            asyncio.get_running_loop().call_soon(self._end)
        else:
            self._end()

    def _end(self) -> None:
        if not self._users:
            self.is_over = True
            for name in [*self.by_name]:
                self.forget(name)


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


@contextmanager
def outliving_request(adapters: Adapters) -> Iterator[None]:
    """Keep the leases of the request under way to the end of this block too."""
    leases = current_leases(adapters)
    if leases is None:
        yield
        return
    leases.hold()
    try:
        yield
    finally:
        leases.release()


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
