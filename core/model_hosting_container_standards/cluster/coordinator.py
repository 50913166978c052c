"""The process that keeps the adapters and sessions of all members."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

import msgspec

from ..adapters.adapter import Adapter, AdapterSpec
from ..adapters.backend import AdapterBackend
from ..adapters.leases import ExclusiveLocks
from ..adapters.loader import AdapterLoader
from ..adapters.service import AdapterService
from .adapter_table import JournaledAdapters
from .journal import Journal
from .members import MemberLeases, Members
from .notification import Notification
from .session_table import JournaledSessions

#: Seconds for which a call of a member waits for changes.
_POLL_S: Final = 2.0


class Update(msgspec.Struct, frozen=True):
    """What a member has not seen yet.

    ``changes`` has the adapters by name, with None for those that were removed. If it
    ``is_complete``, it has all adapters. ``version`` counts the changes since the start
    of the coordinator's process, which ``epoch`` identifies.
    """

    epoch: str
    version: int
    changes: Mapping[str, Adapter | None]
    is_complete: bool
    registrations: int


class Coordinator:
    """Keeps the adapters and sessions of a server that runs on several machines.

    An operation on adapters returns once every live member has seen its effect, so
    that the next request to any of them does, too. A member that has died delays it by
    up to 7 s. An adapter is unloaded once no member uses it.

    Args:
        backend: loads adapters into all engines.
        journal: where adapters and sessions are stored.
        root: the only folder that adapters may be loaded from; None: any.
        now: returns the time in seconds, of a clock that never goes back.

    Raises:
        StorageError: the journal cannot be read.
    """

    def __init__(
        self,
        backend: AdapterBackend,
        journal: Journal,
        root: Path | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.adapters = JournaledAdapters(journal, self._wake_soon)
        self.sessions = JournaledSessions(journal)
        self.epoch: Final = uuid.uuid4().hex
        self._members = Members(journal, now)
        self._loader = AdapterLoader(backend, self.adapters, root)
        leases = MemberLeases(self._members, lambda: self.adapters.version)
        self._service = AdapterService(
            self.adapters, self._loader, _OperationLocks(), leases
        )
        self._loop = asyncio.get_running_loop()
        self._changed = Notification()

    async def restore(self) -> None:
        """Finish what an earlier coordinator had begun when it died."""
        for row in self.adapters.rows():
            if row.state in ("loading", "draining"):
                await self._service.clean_up(row.name)

    async def sync(
        self, member_id: str, epoch: str, version: int, draining: Collection[int]
    ) -> Update:
        """Return what a member has not seen; waits up to 2 s for a change.

        Args:
            epoch: that of the last update; empty at the first call.
            version: that of the last update.
            draining: the ids of adapters that are not in this version, and that the
                member's requests still use.

        Raises:
            StorageError: it is a new member, and the journal cannot be written.
        """
        seen = version if epoch == self.epoch else -1
        await self.report(member_id, epoch, version, draining)
        if seen == self.adapters.version:
            await self._changed.wait(_POLL_S)
        return self._update(seen)

    async def report(
        self, member_id: str, epoch: str, version: int, draining: Collection[int]
    ) -> None:
        """Note what a member has seen and still uses, as :meth:`sync` does.

        Raises:
            StorageError: it is a new member, and the journal cannot be written.
        """
        seen = version if epoch == self.epoch else -1
        await self._members.record_call(member_id, seen, draining)

    async def leave(self, member_id: str) -> None:
        """Forget a member, which answers no more requests."""
        await self._members.remove(member_id)

    async def register(self, spec: AdapterSpec, by_handler: bool) -> None:
        """Register an adapter, which a handler of the caller may have loaded.

        Raises:
            AdapterError: it cannot be registered; the registration is undone.
        """
        await self._service.register(spec, _loaded if by_handler else None)
        await self._members.wait_seen(self.adapters.version)

    async def unregister(self, name: str, by_handler: bool) -> None:
        """Unregister an adapter, and wait up to 30 s for the requests that use it.

        Raises:
            AdapterNotFoundError: it does not exist.
        """
        await self._service.unregister(name, _loaded if by_handler else None)
        await self._members.wait_seen(self.adapters.version)

    async def update(self, name: str, pin: bool | None, preload: bool | None) -> None:
        """Pin, unpin or load an adapter, or change whether it is loaded beforehand.

        Raises:
            AdapterError: it does not exist, or an engine refuses.
        """
        await self._service.update(name, pin, preload)
        await self._members.wait_seen(self.adapters.version)

    async def load_on_first_use(self, name: str) -> None:
        """Load an adapter that was registered without preload.

        Raises:
            AdapterError: it cannot be loaded.
        """
        await self._service.load_on_first_use(name)
        await self._members.wait_seen(self.adapters.version)

    async def close(self) -> None:
        """Cancel the operations that are running."""
        await self._service.close()

    def _update(self, seen: int) -> Update:
        # Read before the changes, of which a later version has more.
        version = self.adapters.version
        changes = self.adapters.changes_since(seen)
        return Update(
            self.epoch,
            version,
            self.adapters.view() if changes is None else changes,
            is_complete=changes is None,
            registrations=self.adapters.registrations,
        )

    def _wake_soon(self) -> None:
        self._loop.call_soon_threadsafe(self._changed.notify)


class _OperationLocks(ExclusiveLocks):
    """The locks of one process's operations, which exist while they are used."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def exclusive(self, number: int, /) -> AsyncIterator[None]:
        lock = self._locks.setdefault(number, asyncio.Lock())
        async with lock:
            yield


async def _loaded() -> None:
    """Do nothing: the caller's handler has loaded or unloaded the adapter."""
