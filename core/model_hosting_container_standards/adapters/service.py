"""The operations that change a server's adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Any, Final

from ..exceptions import AdapterConflictError, AdapterError, StorageError
from ..logging_config import get_logger
from ..observability.metrics import loading_adapter
from .adapter import Adapter, AdapterSpec
from .background_tasks import BackgroundTasks
from .leases import ExclusiveLocks
from .loader import AdapterLoader
from .operations import AdapterOperations, ByHandler
from .table import AdapterTable

logger = get_logger(__name__)

#: Seconds that an answer waits for the requests that still use an unloaded adapter.
UNLOAD_ANSWER_S: Final = 30.0


class AdapterService(AdapterOperations):
    """Registers, unregisters, updates and loads adapters, in a table and the engine.

    Args:
        names: held during an operation, by a hash of the adapter's name.
        leases: held while an adapter is unloaded, by its id; exclude its users.
    """

    def __init__(
        self,
        store: AdapterTable,
        loader: AdapterLoader,
        names: ExclusiveLocks,
        leases: ExclusiveLocks,
    ) -> None:
        self._store = store
        self._loader = loader
        self._names = names
        self._leases = leases
        self._tasks = BackgroundTasks()
        self._retiring: set[int] = set()
        self._loading: dict[str, asyncio.Task[None]] = {}

    async def register(self, spec: AdapterSpec, by_handler: ByHandler | None) -> None:
        await self._carry_out(self._register(spec, by_handler))

    async def unregister(self, name: str, by_handler: ByHandler | None) -> None:
        await self._carry_out(self._unregister(name, by_handler))

    async def update(self, name: str, pin: bool | None, preload: bool | None) -> None:
        await self._carry_out(self._update(name, pin, preload))

    async def load_on_first_use(self, name: str) -> None:
        """Load an adapter; concurrent callers share one attempt and its outcome."""
        if (loading := self._loading.get(name)) is None:
            loading = self._tasks.start(self._load_on_first_use(name))
            self._loading[name] = loading
            loading.add_done_callback(lambda _: self._loading.pop(name, None))
        await asyncio.shield(loading)

    async def clean_up(self, name: str) -> None:
        """Finish what a process that died had begun with the adapters of a name."""
        async with self._exclusive(name):
            pass

    async def close(self) -> None:
        """Cancel the running operations; the next start cleans up after them."""
        await self._tasks.end()

    async def _carry_out(self, operation: Coroutine[Any, Any, None]) -> None:
        """Run an operation to its end, even if the caller is cancelled."""
        await asyncio.shield(self._tasks.start(operation))

    async def _register(self, spec: AdapterSpec, by_handler: ByHandler | None) -> None:
        async with self._exclusive(spec.name):
            existing = self._store.view().get(spec.name)
            if existing is not None and existing.answers and not spec.replace:
                path = await self._locate(spec, by_handler)
                return await self._register_existing(existing, spec, path)
            if by_handler is None:
                path = await self._loader.check_folder(spec.src)
            else:
                path = await self._locate(spec, by_handler)
            if existing is None:
                self._loader.check_name(spec.name)
            replaced = await self._load_new(spec, path, by_handler)
        logger.info("Adapter %r is registered from %s", spec.name, path)
        await self._retire_soon(replaced)
        return None

    async def _unregister(self, name: str, by_handler: ByHandler | None) -> None:
        async with self._exclusive(name):
            if by_handler is not None:
                await by_handler()
            elif self._store.get(name).by_handler:
                raise AdapterError(
                    f"Adapter {name!r} was loaded by a registered handler, but no "
                    "handler unloads it: use register_unload_adapter_handler."
                )
            removed = await self._loader.write(self._store.drain, name)
        logger.info("Adapter %r is unregistered", name)
        await self._retire_soon(removed)

    async def _update(self, name: str, pin: bool | None, preload: bool | None) -> None:
        async with self._exclusive(name):
            adapter = self._store.get(name)
            if not adapter.answers:
                adapter = await self._register_again(adapter, pin)
            elif pin:
                await self._loader.pin(adapter)
            elif preload and not adapter.loaded:
                await self._loader.load(adapter)
            if pin is False and adapter.pin:
                await self._loader.unpin(self._store.get(name))
            if preload is not None:
                await self._loader.write(self._store.change, adapter, preload=preload)
        logger.info("Adapter %r is updated: pin %s, preload %s", name, pin, preload)

    async def _load_on_first_use(self, name: str) -> None:
        async with self._exclusive(name):
            adapter = self._store.get(name)
            if adapter.answers and not adapter.loaded:
                await self._loader.load(adapter)

    async def _locate(self, spec: AdapterSpec, by_handler: ByHandler | None) -> str:
        """Return the adapter's real path; a handler's ``src`` may be any string."""
        if by_handler is not None and self._loader.root is None:
            return spec.src
        return await self._loader.locate(spec.src)

    async def _register_existing(
        self, existing: Adapter, spec: AdapterSpec, path: str
    ) -> None:
        if existing.path != path:
            raise AdapterConflictError(
                f"Adapter {spec.name!r} is registered from {existing.src!r}. DELETE "
                'it first, or send "load_inplace": true to replace it.'
            )
        if spec.pin and not existing.pin:
            await self._loader.pin(existing)

    async def _register_again(self, failed: Adapter, pin: bool | None) -> Adapter:
        """Register a failed adapter again.

        It gets a new id, as the engine may have cached the failure of the old one.
        """
        spec = AdapterSpec(
            name=failed.name,
            src=failed.src,
            pin=failed.pin if pin is None else pin,
            replace=True,
            options=failed.options,
        )
        async with self._loader.recording_failure(failed):
            path = await self._loader.check_folder(failed.path)
            replaced = await self._load_new(spec, path, None)
        await self._retire_soon(replaced)
        adapter = self._store.get(failed.name)
        return await self._loader.write(
            self._store.change, adapter, preload=failed.preload
        )

    async def _load_new(
        self, spec: AdapterSpec, path: str, by_handler: ByHandler | None
    ) -> Adapter | None:
        """Register an adapter, or undo it on failure; return the one it replaces."""
        write, check = self._loader.write, self._loader.check_capacity
        handled = by_handler is not None
        adapter = await write(self._store.reserve, spec, path, handled, check)
        try:
            if by_handler is not None:
                with loading_adapter():
                    await by_handler()
            loaded = handled or await self._loader.load_reserved(adapter)
        except BaseException:
            await self._loader.undo(adapter)
            raise
        try:
            return await write(self._store.complete, adapter, loaded=loaded)
        except StorageError:
            # Not if it is cancelled: the thread may complete it all the same.
            await self._loader.undo(adapter)
            raise

    @asynccontextmanager
    async def _exclusive(self, name: str) -> AsyncIterator[None]:
        """Hold the lock of a name, and clean up after processes that died with it."""
        async with self._names.exclusive(_lock_number(name)):
            for row in self._store.rows_of(name):
                if row.state == "loading":
                    # The process that began it has died: it would still hold the lock.
                    await self._loader.undo(row)
                if row.state == "draining":
                    self._retire(row)
            yield

    async def _retire_soon(self, adapter: Adapter | None) -> None:
        """Unload a draining adapter, and wait for it up to ``UNLOAD_ANSWER_S``."""
        if adapter is not None and (retiring := self._retire(adapter)):
            await asyncio.wait({retiring}, timeout=UNLOAD_ANSWER_S)

    def _retire(self, adapter: Adapter) -> asyncio.Task[None] | None:
        """Start a task that unloads an adapter once its last request has finished.

        Returns None if there is one already.
        """
        if adapter.id in self._retiring:
            return None
        self._retiring.add(adapter.id)
        return self._tasks.start(self._retire_when_idle(adapter))

    async def _retire_when_idle(self, adapter: Adapter) -> None:
        try:
            async with self._leases.exclusive(adapter.id):
                await self._loader.retire(adapter)
        except StorageError as error:
            logger.error("Adapter %r stays in the table: %s", adapter.name, error)
        finally:
            self._retiring.discard(adapter.id)


def _lock_number(name: str) -> int:
    """Return the lock number of a name, a 56-bit hash."""
    return int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "big")
