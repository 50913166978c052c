"""What changes the adapters of a server, step by step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, TypeVar

from starlette.concurrency import run_in_threadpool

from ...common.storage import ByteLocks
from ...engine import AdapterBackend
from ...exceptions import (
    AdapterCapacityError,
    AdapterConflictError,
    AdapterEngineError,
    AdapterError,
)
from ...logging_config import get_logger
from .adapter import Adapter, Wanted
from .files import check_folder, locate
from .leases import Leases
from .store import AdapterStore

logger = get_logger(__name__)

T = TypeVar("T")
#: Loads an adapter in the engine's place, or unloads one.
ByHandler = Callable[[], Awaitable[None]]

#: How long an answer waits for the requests that still use what is unloaded.
UNLOAD_ANSWER_S: Final = 30.0


class Operations:
    """One at a time for each name, in all processes of the server.

    Each leaves the table and the engine as if it had been carried out, or as if it had
    not been begun.
    """

    def __init__(
        self,
        backend: AdapterBackend | None,
        store: AdapterStore,
        names: ByteLocks,
        leases: Leases,
        root: Path | None,
    ) -> None:
        self._backend = backend
        self._store = store
        self._names = names
        self._leases = leases
        self.root = root
        self._tasks: set[asyncio.Task[Any]] = set()

    async def register(self, wanted: Wanted, by_handler: ByHandler | None) -> None:
        path = await run_in_threadpool(self._locate, wanted, by_handler)
        async with self._operation(wanted.name):
            existing = self._store.view().get(wanted.name)
            if existing is None:
                self._check_own_names(wanted.name)
            elif existing.answers and not wanted.replace:
                return await self._repeat(existing, wanted, path)
            if by_handler is None:
                await self.check_folder(Path(path))
            adapter = await self._write(
                self._store.reserve,
                wanted,
                path,
                by_handler is not None,
                self.check_capacity,
            )
            try:
                loaded = await self._load_reserved(adapter, by_handler)
                replaced = await self._write(
                    self._store.complete, adapter, loaded=loaded
                )
            except BaseException:
                await self._undo(adapter)
                raise
        logger.info("Adapter %r is registered from %s", adapter.name, adapter.path)
        if replaced is not None:
            await self._retire_soon(replaced)
        return None

    def _locate(self, wanted: Wanted, by_handler: ByHandler | None) -> str:
        """Return where the adapter is; a handler may take other things than paths."""
        if by_handler is None or self.root is not None:
            return str(locate(wanted.src, self.root))
        return wanted.src

    async def _repeat(self, existing: Adapter, wanted: Wanted, path: str) -> None:
        if existing.path != path:
            raise AdapterConflictError(
                f"Adapter {wanted.name!r} is registered from {existing.src}. DELETE it "
                'first, or send "load_inplace": true to replace it.'
            )
        if wanted.pin and not existing.pin:
            await self._pin(existing)

    async def _load_reserved(
        self, adapter: Adapter, by_handler: ByHandler | None
    ) -> bool:
        if by_handler is not None:
            await by_handler()
            return True
        if not (adapter.preload or adapter.pin):
            return False
        await self._engine.load(adapter)
        if adapter.pin:
            await self._engine.pin(adapter)
        return True

    async def _undo(self, adapter: Adapter) -> None:
        """Leave nothing of a registration that did not get through."""
        try:
            if self._backend is not None and not adapter.by_handler:
                await self._backend.unload(adapter)
        except AdapterError as error:
            logger.debug("Nothing to unload of adapter %r: %s", adapter.name, error)
        finally:
            await self._write(self._store.discard, adapter.id)

    async def unregister(self, name: str, by_handler: ByHandler | None) -> None:
        async with self._operation(name):
            if by_handler is not None:
                await by_handler()
            elif self._store.get(name).by_handler:
                raise AdapterError(
                    f"Adapter {name!r} was loaded by a handler, and there is none to "
                    "unload it: use register_unload_adapter_handler."
                )
            gone = await self._write(self._store.leave, name)
        if gone is not None:
            logger.info("Adapter %r is unregistered", name)
            await self._retire_soon(gone)

    async def update(self, name: str, pin: bool | None, preload: bool | None) -> None:
        async with self._operation(name):
            adapter = self._store.get(name)
            if adapter.by_handler and pin:
                raise AdapterError(
                    f"Adapter {name!r} was loaded by a handler, which cannot pin it."
                )
            if preload is not None:
                await self._write(self._store.change, adapter, preload=preload)
            if preload and not (adapter.loaded or adapter.by_handler):
                await self._load(adapter)
            if pin is not None and pin != adapter.pin:
                await (self._pin(adapter) if pin else self._unpin(adapter))

    async def _load(self, adapter: Adapter) -> None:
        await self.check_folder(Path(adapter.path))
        await self._engine.load(adapter)
        await self._write(
            self._store.change, adapter, state="ready", loaded=True, reason=None
        )

    async def _pin(self, adapter: Adapter) -> None:
        await self._write(
            self._store.change, adapter, check=self.check_capacity, pin=True
        )
        try:
            await self._load(adapter)  # Only what is loaded can be pinned.
            await self._engine.pin(adapter)
        except BaseException:
            await self._write(self._store.change, adapter, pin=False)
            raise

    async def _unpin(self, adapter: Adapter) -> None:
        await self._engine.unload(adapter)
        await self._load(adapter)
        await self._write(self._store.change, adapter, pin=False)

    async def load_on_first_use(self, leased: Adapter) -> None:
        async with self._operation(leased.name):
            adapter = self._store.get(leased.name)
            if adapter.id != leased.id or adapter.loaded:
                return
            try:
                await self._load(adapter)
            except AdapterEngineError:
                raise
            except AdapterError as error:
                await self._write(self._store.fail, adapter, str(error))
                raise

    # --- parts of them -------------------------------------------------------------

    @property
    def _engine(self) -> AdapterBackend:
        if self._backend is None:
            raise AdapterError("This server's adapters are loaded by handlers only.")
        return self._backend

    @asynccontextmanager
    async def _operation(self, name: str) -> AsyncIterator[None]:
        """Be the only one who changes what has this name."""
        async with self._names.alone(_number(name)):
            # Whoever began these died: who is alive holds the lock.
            for leftover in self._store.rows("name = ? AND state = 'loading'", name):
                await self._undo(leftover)
            yield

    async def check_folder(self, path: Path) -> None:
        rank = self._engine.max_rank
        await run_in_threadpool(check_folder, path, self.root, rank)

    def _check_own_names(self, name: str) -> None:
        if self._backend is None:
            return
        if name in (*self._backend.own_models(), *self._backend.own_adapters()):
            raise AdapterConflictError(
                f"{name!r} is a model or adapter that the engine was started with: "
                "choose another name."
            )

    def check_capacity(self, pinned: int, others: int) -> None:
        """Refuse what would leave the engine no room to run an adapter."""
        if not pinned or self._backend is None:
            return
        slots = self._backend.slots
        others += len(self._backend.own_adapters())
        if pinned > slots or (pinned == slots and others):
            raise AdapterCapacityError(
                f"The engine computes {slots} adapter(s) at once, {pinned} would be "
                f"pinned and {others} would share the rest: unpin or delete some, or "
                "start it with more."
            )

    async def _retire_soon(self, adapter: Adapter) -> None:
        """Unload what no new request sees, as soon as no old one uses it."""
        retiring = self.spawn(self._retire(adapter))
        await asyncio.wait({retiring}, timeout=UNLOAD_ANSWER_S)

    async def _retire(self, adapter: Adapter) -> None:
        async with self._leases.ended(adapter.id):
            try:
                if self._backend is not None and not adapter.by_handler:
                    await self._backend.unload(adapter)
            except AdapterError as error:
                logger.error("Adapter %r stays in memory: %s", adapter.name, error)
            await self._write(self._store.discard, adapter.id)

    async def _write(self, method: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Write to the table in a thread: other processes may have to be waited for."""
        return await run_in_threadpool(method, *args, **kwargs)

    def spawn(self, operation: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(operation)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()


def _number(name: str) -> int:
    """Return the lock of a name. That two share one is as good as impossible."""
    return int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "big")
