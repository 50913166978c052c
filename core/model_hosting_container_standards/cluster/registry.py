"""The adapter registry of one member of a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from ..adapters.adapter import Adapter, AdapterSpec
from ..adapters.backend import AdapterBackend
from ..adapters.leases import AdapterLeases
from ..adapters.operations import AdapterOperations, ByHandler
from ..adapters.registry import AdapterRegistry
from ..adapters.table import AdapterView
from ..exceptions import AdapterEngineError, AdapterNotFoundError
from ..logging_config import get_logger
from .coordinator import Update
from .members import VALID_S

logger = get_logger(__name__)

#: Seconds between calls of a coordinator that cannot be reached.
_RETRY_S: Final = 0.2
#: Seconds that a request waits for a coordinator that cannot be reached.
_PATIENCE_S: Final = 20.0


class Connection(Protocol):
    """Calls the coordinator, whose methods of the same names these are.

    They raise what the coordinator's raise, and an :class:`AdapterEngineError` if it
    cannot be reached.
    """

    async def sync(
        self, member_id: str, epoch: str, version: int, draining: Collection[int]
    ) -> Update: ...

    async def report(
        self, member_id: str, epoch: str, version: int, draining: Collection[int]
    ) -> None: ...

    async def leave(self, member_id: str) -> None: ...

    async def register(self, spec: AdapterSpec, by_handler: bool) -> None: ...

    async def unregister(self, name: str, by_handler: bool) -> None: ...

    async def update(
        self, name: str, pin: bool | None, preload: bool | None
    ) -> None: ...

    async def load_on_first_use(self, name: str) -> None: ...


class ClusterRegistry(AdapterRegistry):
    """The registered adapters of a cluster, as one of its members sees them.

    The member has a copy of them, which the coordinator keeps current: a request needs
    no call. A member that has not heard from the coordinator for 6 s, and so may have
    missed a change, does not use its copy until it has.

    Args:
        backend: this member's engine.
        connection: calls the coordinator.
        root: the only folder that adapters may be loaded from; None: any.
        now: returns the time in seconds, of a clock that never goes back.
    """

    def __init__(
        self,
        backend: AdapterBackend | None,
        connection: Connection,
        root: Path | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._copy = _Copy()
        self._used = _MemberLeases(self._copy)
        super().__init__(
            backend, self._copy, self._used, _RemoteOperations(connection), root
        )
        self._connection = connection
        self._now = now
        self._id = uuid.uuid4().hex
        self._valid_until = now()
        self._synced = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Join the cluster: fetch the registered adapters, and keep them current."""
        self._task = asyncio.create_task(self._follow())
        await self._synced.wait()

    async def close(self) -> None:
        """Leave the cluster."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await super().close()
        with contextlib.suppress(AdapterEngineError):
            await self._connection.leave(self._id)

    async def lease_loaded(self, name: str) -> Adapter:
        await self._wait_valid()
        return await super().lease_loaded(name)

    async def keep_loaded(self, name: str) -> Adapter:
        await self._wait_valid()
        return await super().keep_loaded(name)

    async def _wait_valid(self) -> None:
        """Wait until the copy is known to be current.

        Raises:
            AdapterEngineError: the coordinator cannot be reached.
        """
        deadline = self._now() + _PATIENCE_S
        while (now := self._now()) >= self._valid_until:
            synced = self._synced
            try:
                await asyncio.wait_for(synced.wait(), max(0.0, deadline - now))
            except asyncio.TimeoutError:
                raise AdapterEngineError(
                    "The registry of adapters cannot be reached. Try again."
                ) from None

    async def _follow(self) -> None:
        while True:
            # Counted from before the call: the coordinator counts from its arrival.
            asked = self._now()
            try:
                update = await self._sync()
            except AdapterEngineError as error:
                logger.info("The registry of adapters cannot be reached: %s", error)
                await asyncio.sleep(_RETRY_S)
                continue
            self._copy.apply(update)
            self._valid_until = asked + VALID_S
            self._synced.set()
            self._synced = asyncio.Event()

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
        self._view: Mapping[str, Adapter] = MappingProxyType({})
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

    def apply(self, update: Update) -> None:
        """Make the copy what the coordinator has."""
        self._registrations = update.registrations
        if update.changes or update.is_complete:
            before = {} if update.is_complete else self._view
            after = {**before, **update.changes}
            self._view = MappingProxyType(
                {name: row for name, row in sorted(after.items()) if row is not None}
            )
        self.seen = (update.epoch, update.version)


class _MemberLeases(AdapterLeases):
    """The leases of a member. All in its event loop."""

    def __init__(self, copy: _Copy) -> None:
        self._copy = copy
        self._counts: Counter[int] = Counter()
        self._names: dict[int, str] = {}
        #: Set when an adapter that was removed is no longer used.
        self.released = asyncio.Event()

    def acquire(self, adapter: Adapter) -> None:
        """Take a lease. The adapter is in the copy, as nothing has been awaited."""
        self._counts[adapter.id] += 1
        self._names[adapter.id] = adapter.name

    def release(self, adapter: Adapter) -> None:
        self._counts[adapter.id] -= 1
        if self._counts[adapter.id]:
            return
        if self._is_removed(adapter.id):
            self.released.set()
        del self._counts[adapter.id], self._names[adapter.id]

    def draining(self) -> list[int]:
        """Return the ids of leased adapters that are no longer registered."""
        return [one for one in self._counts if self._is_removed(one)]

    def close(self) -> None:
        """Do nothing: the coordinator is told that the member leaves."""

    def _is_removed(self, adapter_id: int) -> bool:
        current = self._copy.view().get(self._names[adapter_id])
        return current is None or current.id != adapter_id


class _RemoteOperations(AdapterOperations):
    """The operations of the coordinator."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def register(self, spec: AdapterSpec, by_handler: ByHandler | None) -> None:
        if by_handler is not None:
            await by_handler()
        await self._connection.register(spec, by_handler is not None)

    async def unregister(self, name: str, by_handler: ByHandler | None) -> None:
        if by_handler is not None:
            await by_handler()
        await self._connection.unregister(name, by_handler is not None)

    async def update(self, name: str, pin: bool | None, preload: bool | None) -> None:
        await self._connection.update(name, pin, preload)

    async def load_on_first_use(self, name: str) -> None:
        await self._connection.load_on_first_use(name)

    async def close(self) -> None:
        """Do nothing: the coordinator carries the operations out."""
