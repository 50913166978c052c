"""Who uses which adapter right now, in all processes of a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager

from ...common.storage import ByteLocks


class Leases:
    """A lease is a shared lock on an adapter's id, one for all requests of a process.

    It ends with the process that has it, however that ends.
    """

    def __init__(self, locks: ByteLocks) -> None:
        self._locks = locks
        self._counts: dict[int, int] = {}

    def take(self, adapter_id: int) -> None:
        """Take a lease.

        Raises:
            BlockingIOError: the adapter is being unloaded.
        """
        count = self._counts.get(adapter_id, 0)
        if not count:
            self._locks.share(adapter_id)
        self._counts[adapter_id] = count + 1

    def give_back(self, adapter_id: int) -> None:
        count = self._counts.pop(adapter_id) - 1
        if count:
            self._counts[adapter_id] = count
        else:
            self._locks.release(adapter_id)

    @contextmanager
    def taken(self, adapter_id: int) -> Iterator[None]:
        self.take(adapter_id)
        try:
            yield
        finally:
            self.give_back(adapter_id)

    def ended(self, adapter_id: int) -> AbstractAsyncContextManager[None]:
        """Wait until there is no lease of an adapter; there is none meanwhile."""
        return self._locks.alone(adapter_id)
