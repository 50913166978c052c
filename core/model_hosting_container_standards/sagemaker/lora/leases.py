"""Who uses which adapter right now, in all processes of a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ...common.storage import ByteLocks

#: How long a lock is kept for the next request.
_IDLE_S: Final = 0.05


class Leases:
    """A lease is a shared lock on an adapter's id, one for all requests of a process.

    It ends with the process that has it, however that ends. Under traffic the lock is
    kept from one request to the next: the kernel is asked now and then, not each time.
    """

    def __init__(self, locks: ByteLocks) -> None:
        self._locks = locks
        #: How many requests use an adapter. The lock is held for each key, 0 or not.
        self._counts: dict[int, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def take(self, adapter_id: int) -> None:
        """Take a lease.

        Raises:
            BlockingIOError: the adapter is being unloaded.
        """
        count = self._counts.get(adapter_id)
        if count is None:
            self._locks.share(adapter_id)
            count = 0
        self._counts[adapter_id] = count + 1

    def give_back(self, adapter_id: int) -> None:
        self._counts[adapter_id] -= 1
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_IDLE_S, self._release_idle)

    @asynccontextmanager
    async def ended(self, adapter_id: int) -> AsyncIterator[None]:
        """Wait until there is no lease of an adapter; there is none meanwhile."""
        if self._counts.get(adapter_id) == 0:
            self._release(adapter_id)
        async with self._locks.alone(adapter_id):
            yield

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _release_idle(self) -> None:
        self._timer = None
        for adapter_id in [key for key, count in self._counts.items() if not count]:
            self._release(adapter_id)

    def _release(self, adapter_id: int) -> None:
        del self._counts[adapter_id]
        self._locks.release(adapter_id)
