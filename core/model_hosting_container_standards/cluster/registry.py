"""The adapter registry of one member of a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ..adapters.adapter import Adapter
from ..adapters.backend import AdapterBackend
from ..adapters.background_tasks import BackgroundTasks
from ..adapters.leases import AdapterLeases
from ..adapters.registry import AdapterRegistry
from ..adapters.table import AdapterView
from ..exceptions import (
    AdapterEngineError,
    AdapterError,
    AdapterNotFoundError,
    StorageError,
)
from ..logging_config import get_logger
from .adapter_table import sort_by_name
from .connection import Connection, RemoteOperations
from .coordinator import Update
from .members import VALID_S
from .notification import Notification

logger = get_logger(__name__)

#: Seconds between calls of a coordinator that cannot be reached.
_RETRY_S: Final = 0.2
#: Seconds that a request waits for a coordinator that cannot be reached.
_WAIT_S: Final = 20.0
#: Seconds that the end of a member may wait for the coordinator.
_LEAVE_S: Final = 2.0


class ClusterRegistry(AdapterRegistry):
    """The registered adapters of a cluster, as one of its members sees them.

    The member has a copy of them, which the coordinator keeps current: a request needs
    no call. A member that has not heard from the coordinator for 6 s, and so may have
    missed a change, does not use its copy until it has.

    A member whose engine loads adapters unloads those that were removed, once its own
    requests no longer use them. Until then, it reports that it uses them.

    Args:
        backend: this member's engine.
        connection: calls the coordinator.
        root: the only folder that adapters may be loaded from; None: any.
        now: returns the time in seconds, of a clock that never goes back.
        on_change: called, in the event loop, with the adapters that were added or
            changed.
    """

    def __init__(
        self,
        backend: AdapterBackend | None,
        connection: Connection,
        root: Path | None,
        now: Callable[[], float] = time.monotonic,
        *,
        on_change: Callable[[Sequence[Adapter]], None] | None = None,
    ) -> None:
        self._copy = _Copy()
        self._used = _MemberLeases()
        operations = RemoteOperations(connection, self._copy)
        super().__init__(backend, self._copy, self._used, operations, root)
        self._connection = connection
        self._on_change = on_change
        self._now = now
        self._id = uuid.uuid4().hex
        self._valid_until = now()
        self._synced = Notification()
        self._tasks = BackgroundTasks()

    async def start(self) -> None:
        """Join the cluster: fetch the registered adapters, and keep them current."""
        self._tasks.start(self._follow())
        await self._synced.wait()

    async def close(self) -> None:
        """Leave the cluster."""
        await self._tasks.end()
        await super().close()
        # If it cannot be told, it notices within 7 s that the member has left.
        with contextlib.suppress(AdapterEngineError, asyncio.TimeoutError):
            await asyncio.wait_for(self._connection.leave(self._id), _LEAVE_S)

    async def lease_loaded(self, name: str) -> Adapter:
        await self.wait_valid()
        return await super().lease_loaded(name)

    async def keep_loaded(self, name: str) -> Adapter:
        if name not in self.leased_by_request():
            await self.wait_valid()
        return await super().keep_loaded(name)

    def _lease(self, name: str) -> Adapter:
        if not self._is_valid():
            raise _unreachable()
        return super()._lease(name)

    def _is_valid(self) -> bool:
        """Return whether the copy is known to be current."""
        return self._now() < self._valid_until

    async def wait_valid(self) -> None:
        """Wait until the copy is known to be current.

        Raises:
            AdapterEngineError: the coordinator cannot be reached.
        """
        deadline = self._now() + _WAIT_S
        while not self._is_valid():
            if (left := deadline - self._now()) <= 0:
                raise _unreachable()
            await self._synced.wait(left)

    async def _follow(self) -> None:
        is_lost = False
        while True:
            # Counted from before the call: the coordinator counts from its arrival.
            sent_at = self._now()
            try:
                update = await self._sync()
            except (AdapterEngineError, StorageError) as error:
                if not is_lost:
                    logger.error("The registry of adapters cannot be used: %s", error)
                is_lost = True
                await asyncio.sleep(_RETRY_S)
                continue
            if is_lost:
                logger.warning("The registry of adapters can be used again")
                is_lost = False
            for adapter in self._copy.apply(update):
                self._used.remove(adapter)
                self._tasks.start(self._unload(adapter))
            self._valid_until = sent_at + VALID_S
            self._synced.notify()
            if self._on_change is not None:
                self._on_change([*filter(None, update.changes.values())])

    async def _unload(self, adapter: Adapter) -> None:
        """Unload an adapter that was removed, once it is not leased."""
        await self._used.wait_unused(adapter)
        try:
            if self.backend is not None and not adapter.by_handler:
                await self.backend.unload(adapter)
        except AdapterError as error:
            logger.error("Adapter %r stays in memory: %s", adapter.name, error)
        finally:
            self._used.forget(adapter)

    async def _sync(self) -> Update:
        """Wait for an update; report the leases that end meanwhile."""
        sync = asyncio.ensure_future(
            self._connection.sync(self._id, *self._copy.seen, self._used.draining())
        )
        try:
            while not sync.done():
                released = asyncio.ensure_future(self._used.released.wait())
                try:
                    await asyncio.wait({sync, released}, return_when="FIRST_COMPLETED")
                finally:
                    released.cancel()
                if self._used.released.is_set():
                    self._used.released.clear()
                    draining = self._used.draining()
                    await self._connection.report(self._id, *self._copy.seen, draining)
            return await sync
        finally:
            sync.cancel()


class _Copy(AdapterView):
    """A member's copy of the registered adapters."""

    def __init__(self) -> None:
        self._registrations = 0
        self._rows: dict[str, Adapter] = {}
        self._view: Mapping[str, Adapter] = MappingProxyType(self._rows)
        #: The epoch and version of the last update.
        self.seen = ("", -1)

    @property
    def registrations(self) -> int:
        return self._registrations

    def view(self) -> Mapping[str, Adapter]:
        return self._view

    def get(self, name: str) -> Adapter:
        adapter = self._view.get(name)
        if adapter is None:
            raise AdapterNotFoundError(f"Adapter {name!r} does not exist.")
        return adapter

    def apply(self, update: Update) -> list[Adapter]:
        """Make the copy what the coordinator has; return the adapters that it removes.

        An adapter that was replaced by another one of the same name is removed.
        """
        before = self._view
        if update.changes or update.is_complete:
            kept = {} if update.is_complete else self._rows
            self._rows = _with_changes(kept, update.changes)
            self._view = MappingProxyType(self._rows)
        self._registrations = update.registrations
        self.seen = (update.epoch, update.version)
        changed = before if update.is_complete else update.changes
        return [before[name] for name in changed if self._is_removed(before.get(name))]

    def _is_removed(self, adapter: Adapter | None) -> bool:
        if adapter is None:
            return False
        current = self._view.get(adapter.name)
        return current is None or current.id != adapter.id


def _with_changes(
    rows: dict[str, Adapter], changes: Mapping[str, Adapter | None]
) -> dict[str, Adapter]:
    """Return a copy of rows that are sorted by name, with changes."""
    changed = rows.copy()
    for name, row in changes.items():
        if row is not None:
            changed[name] = row
        else:
            changed.pop(name, None)
    return changed if changes.keys() <= rows.keys() else sort_by_name(changed)


class _MemberLeases(AdapterLeases):
    """The leases of a member. All in its event loop."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._unused: dict[int, asyncio.Event] = {}
        #: Set when an adapter that was removed is no longer used.
        self.released = asyncio.Event()

    def acquire(self, adapter: Adapter) -> None:
        """Take a lease. The adapter is in the copy, as nothing has been awaited."""
        self._counts[adapter.id] += 1

    def release(self, adapter: Adapter) -> None:
        self._counts[adapter.id] -= 1
        if not self._counts[adapter.id]:
            del self._counts[adapter.id]
            if unused := self._unused.get(adapter.id):
                unused.set()

    def remove(self, adapter: Adapter) -> None:
        """Record that an adapter is not registered any more: it gets no more leases."""
        unused = self._unused[adapter.id] = asyncio.Event()
        if adapter.id not in self._counts:
            unused.set()

    async def wait_unused(self, adapter: Adapter) -> None:
        """Wait until an adapter that was removed has no lease."""
        await self._unused[adapter.id].wait()

    def forget(self, adapter: Adapter) -> None:
        """Record that an adapter that was removed is unloaded."""
        del self._unused[adapter.id]
        self.released.set()

    def draining(self) -> list[int]:
        """Return the ids of removed adapters that are still used or loaded."""
        return [*self._unused]

    def close(self) -> None:
        """Do nothing: the coordinator is told that the member leaves."""


def _unreachable() -> AdapterEngineError:
    return AdapterEngineError("The registry of adapters cannot be reached. Try again.")
