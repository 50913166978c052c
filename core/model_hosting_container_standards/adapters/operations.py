"""The interface of changes to the registered adapters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from .adapter import AdapterSpec

#: Calls a registered handler that loads or unloads the adapter, not the engine.
ByHandler = Callable[[], Awaitable[None]]


class AdapterOperations(Protocol):
    """Changes what is registered, in all processes of a server.

    Operations on one name are serialised. Each either completes or leaves everything
    unchanged, and runs to its end even if the caller is cancelled. They raise an
    :class:`AdapterError`, whose status and text are sent to the client.
    """

    async def register(self, spec: AdapterSpec, by_handler: ByHandler | None) -> None:
        """Register an adapter, loaded by the engine or by a registered handler."""

    async def unregister(self, name: str, by_handler: ByHandler | None) -> None:
        """Unregister an adapter, and wait up to 30 s for the requests that use it."""

    async def update(self, name: str, pin: bool | None, preload: bool | None) -> None:
        """Pin, unpin or load an adapter, or change whether a restart loads it."""

    async def load_on_first_use(self, name: str) -> None:
        """Load an adapter; concurrent callers share one attempt and its outcome."""

    async def close(self) -> None:
        """Cancel the operations that are running."""
