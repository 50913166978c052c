"""Leases of adapters: an adapter that a request uses is not unloaded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

import msgspec

from ..storage import ByteLocks
from .adapter import Adapter

#: Seconds that an unused lock is kept for the next request.
_IDLE_S: Final = 0.05


class AdapterLeases(Protocol):
    """The adapter leases of one process: what it has leased is not unloaded."""

    def acquire(self, adapter: Adapter) -> None:
        """Take a lease.

        Raises:
            BlockingIOError: the adapter is being unloaded.
        """

    def release(self, adapter: Adapter) -> None:
        """End a lease."""

    def close(self) -> None:
        """End all leases of this process."""


class ExclusiveLocks(Protocol):
    """Locks by number, which exclude the other users in all processes of a server."""

    def exclusive(self, number: int, /) -> AbstractAsyncContextManager[None]:
        """Hold a lock exclusively within the block; waits for it without a limit."""


class Held(msgspec.Struct):
    """An adapter that this process has locked, and the number of its requests."""

    adapter: Adapter
    count: int = 0


class ProcessLeases(AdapterLeases, ExclusiveLocks):
    """The adapter leases of a process that shares its machine with others.

    A lease is a shared lock on the adapter's id, held once for all requests of the
    process. The kernel releases it when the process exits, even after a crash. The lock
    is kept for a moment after the last request, to save system calls under load.
    """

    def __init__(self, locks: ByteLocks) -> None:
        self._locks = locks
        self._held: dict[int, Held] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def acquire(self, adapter: Adapter) -> None:
        """Take a lease.

        Raises:
            BlockingIOError: the adapter is being unloaded.
        """
        held = self._held.get(adapter.id)
        if held is None:
            self._locks.share(adapter.id)
            held = self._held[adapter.id] = Held(adapter)
        held.count += 1

    def release(self, adapter: Adapter) -> None:
        self._held[adapter.id].count -= 1
        if self._timer is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_IDLE_S, self._release_idle)

    @asynccontextmanager
    async def exclusive(self, adapter_id: int) -> AsyncIterator[None]:
        """Wait until an adapter has no lease, and allow none within the block."""
        held = self._held.get(adapter_id)
        if held is not None and not held.count:
            self._release(adapter_id)
        async with self._locks.exclusive(adapter_id):
            yield

    def close(self) -> None:
        """Stop the timer; closing the lock file releases all locks."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _release_idle(self) -> None:
        self._timer = None
        for adapter_id in [key for key, held in self._held.items() if not held.count]:
            self._release(adapter_id)

    def _release(self, adapter_id: int) -> None:
        del self._held[adapter_id]
        self._locks.release(adapter_id)
