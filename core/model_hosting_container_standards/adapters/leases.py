"""Who uses which adapter right now, in all processes of a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from ..storage import ByteLocks
from .adapter import Adapter

#: How long a lock is kept for the next request.
_IDLE_S: Final = 0.05


class Held(msgspec.Struct):
    """An adapter whose lock this process holds, and how many requests use it."""

    adapter: Adapter
    count: int = 0


class Leases:
    """A lease is a shared lock on an adapter's id, one for all requests of a process.

    It ends with the process that has it, however that ends. Under traffic the lock is
    kept from one request to the next: the kernel is asked now and then, not each time.
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
    async def ended(self, adapter_id: int) -> AsyncIterator[None]:
        """Wait until there is no lease of an adapter; there is none meanwhile."""
        held = self._held.get(adapter_id)
        if held is not None and not held.count:
            self._release(adapter_id)
        async with self._locks.exclusive(adapter_id):
            yield

    def close(self) -> None:
        """End with the locks' file, which frees them all."""
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
