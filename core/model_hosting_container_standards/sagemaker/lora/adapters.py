"""The adapters of a server: registered, listed, pinned, unloaded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
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
    AdapterNotFoundError,
)
from ...logging_config import get_logger
from .adapter import Adapter, Wanted, check_name
from .files import check_folder, has_files, locate
from .leases import Leases
from .store import AdapterStore

logger = get_logger(__name__)

T = TypeVar("T")
#: Loads an adapter in the engine's place, or unloads one.
ByHandler = Callable[[], Awaitable[None]]

#: How long an answer waits for the requests that still use what is unloaded.
UNLOAD_ANSWER_S: Final = 30.0


class Adapters:
    """What is registered with a running server.

    The table is the truth; the engine follows it. For one name there is one operation
    at a time, in all processes of the server. An operation that has begun is carried
    out, whatever becomes of the request that asked for it.
    """

    def __init__(
        self, backend: AdapterBackend | None, folder: Path, root: Path | None
    ) -> None:
        self.backend = backend
        self.store = AdapterStore(folder / "adapters.sqlite3")
        self.names = ByteLocks(folder / "names.lock")
        self.users = ByteLocks(folder / "users.lock")
        self.leases = Leases(self.users)
        self.root = root
        self._tasks: set[asyncio.Task[Any]] = set()

    # --- on the path of requests ---------------------------------------------------

    def view(self) -> Mapping[str, Adapter]:
        """Return what is registered now, by name; the same object until it changes."""
        return self.store.view()

    def lease(self, name: str) -> Adapter:
        """Return an adapter, which is not unloaded before :meth:`give_back`.

        Raises:
            AdapterNotFoundError: there is none, or none that can answer.
        """
        while True:
            view = self.store.view()
            adapter = self._usable(view.get(name), name)
            try:
                self.leases.take(adapter.id)
            except BlockingIOError:
                continue  # It is being unloaded, which the next view tells.
            if self.store.view() is view:
                return adapter
            self.leases.give_back(adapter.id)

    def give_back(self, adapter: Adapter) -> None:
        self.leases.give_back(adapter.id)

    async def lease_loaded(self, name: str) -> Adapter:
        """Return an adapter as :meth:`lease` does, once the engine has loaded it.

        Raises:
            AdapterError: there is none, or it cannot be loaded.
        """
        adapter = self.lease(name)
        # Registered without loading it, or before the engine started anew.
        if not (adapter.loaded or adapter.by_handler):
            try:
                await self._carry_out(self._load_on_first_use(adapter))
            except BaseException:
                self.give_back(adapter)
                raise
        return adapter

    def finds(self, name: str) -> bool:
        """Whether the engine has, or finds, something of this name without us."""
        return self.backend is not None and self.backend.finds(name)

    def _usable(self, adapter: Adapter | None, name: str) -> Adapter:
        if adapter is None:
            raise AdapterNotFoundError(
                f"There is no adapter {name!r}: register it by POST /adapters."
            )
        if not adapter.answers:
            raise AdapterNotFoundError(
                f"Adapter {name!r} cannot be loaded any more: {adapter.reason} "
                "Register it again, or delete it."
            )
        # What the engine dropped it reads again, and may die of not finding it.
        if self._drops() and not has_files(adapter.path):
            raise AdapterNotFoundError(
                f"The files of adapter {name!r} are gone from {adapter.path}."
            )
        return adapter

    def _drops(self) -> bool:
        """Whether more is registered than the engine keeps."""
        kept = None if self.backend is None else self.backend.kept
        return kept is not None and len(self.store.view()) > kept

    # --- operations ----------------------------------------------------------------

    def get(self, name: str) -> Adapter:
        """Return an adapter.

        Raises:
            AdapterNotFoundError: there is none of this name.
        """
        adapter = self.view().get(name)
        if adapter is None:
            raise AdapterNotFoundError(f"There is no adapter {name!r}.")
        return adapter

    async def register(
        self, wanted: Wanted, by_handler: ByHandler | None = None
    ) -> None:
        """Register an adapter, by the engine or by a handler of somebody's own.

        Raises:
            AdapterError: it cannot be registered; nothing is left of it.
        """
        check_name(wanted.name)
        await self._carry_out(self._register(wanted, by_handler))

    async def unregister(self, name: str, by_handler: ByHandler | None = None) -> None:
        """Unregister an adapter, and wait for the requests that use it, but not long.

        Raises:
            AdapterNotFoundError: there is none of this name.
        """
        await self._carry_out(self._unregister(name, by_handler))

    async def update(
        self, name: str, *, pin: bool | None = None, preload: bool | None = None
    ) -> None:
        """Pin an adapter or let go of it, load it, or change whether restarts load it.

        Raises:
            AdapterError: there is none of this name, or the engine refuses.
        """
        await self._carry_out(self._update(name, pin, preload))

    async def _register(self, wanted: Wanted, by_handler: ByHandler | None) -> None:
        path = await run_in_threadpool(self._locate, wanted, by_handler)
        async with self._operation(wanted.name):
            existing = self.view().get(wanted.name)
            if existing is None:
                self._check_own_names(wanted.name)
            elif existing.answers and not wanted.replace:
                return await self._repeat(existing, wanted, path)
            if by_handler is None:
                await self.check_folder(Path(path))
            adapter = await self._write(
                self.store.reserve,
                wanted,
                path,
                by_handler is not None,
                self.check_capacity,
            )
            try:
                loaded = await self._load_reserved(adapter, by_handler)
                replaced = await self._write(
                    self.store.complete, adapter, loaded=loaded
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
            if self.backend is not None and not adapter.by_handler:
                await self.backend.unload(adapter)
        except AdapterError as error:
            logger.debug("Nothing to unload of adapter %r: %s", adapter.name, error)
        finally:
            await self._write(self.store.discard, adapter.id)

    async def _unregister(self, name: str, by_handler: ByHandler | None) -> None:
        async with self._operation(name):
            if by_handler is not None:
                await by_handler()
            elif self.get(name).by_handler:
                raise AdapterError(
                    f"Adapter {name!r} was loaded by a handler, and there is none to "
                    "unload it: use register_unload_adapter_handler."
                )
            gone = await self._write(self.store.leave, name)
        if gone is not None:
            logger.info("Adapter %r is unregistered", name)
            await self._retire_soon(gone)

    async def _update(self, name: str, pin: bool | None, preload: bool | None) -> None:
        async with self._operation(name):
            adapter = self.get(name)
            if adapter.by_handler and pin:
                raise AdapterError(
                    f"Adapter {name!r} was loaded by a handler, which cannot pin it."
                )
            if preload is not None:
                await self._write(self.store.change, adapter, preload=preload)
            if preload and not (adapter.loaded or adapter.by_handler):
                await self._load(adapter)
            if pin is not None and pin != adapter.pin:
                await (self._pin(adapter) if pin else self._unpin(adapter))

    async def _load(self, adapter: Adapter) -> None:
        await self.check_folder(Path(adapter.path))
        await self._engine.load(adapter)
        await self._write(
            self.store.change, adapter, state="ready", loaded=True, reason=None
        )

    async def _pin(self, adapter: Adapter) -> None:
        await self._write(
            self.store.change, adapter, check=self.check_capacity, pin=True
        )
        try:
            await self._load(adapter)  # Only what is loaded can be pinned.
            await self._engine.pin(adapter)
        except BaseException:
            await self._write(self.store.change, adapter, pin=False)
            raise

    async def _unpin(self, adapter: Adapter) -> None:
        await self._engine.unload(adapter)
        await self._load(adapter)
        await self._write(self.store.change, adapter, pin=False)

    async def _load_on_first_use(self, leased: Adapter) -> None:
        async with self._operation(leased.name):
            adapter = self.get(leased.name)
            if adapter.id != leased.id or adapter.loaded:
                return
            try:
                await self._load(adapter)
            except AdapterEngineError:
                raise
            except AdapterError as error:
                await self._write(self.store.fail, adapter, str(error))
                raise

    # --- parts of them -------------------------------------------------------------

    @property
    def _engine(self) -> AdapterBackend:
        if self.backend is None:
            raise AdapterError("This server's adapters are loaded by handlers only.")
        return self.backend

    @asynccontextmanager
    async def _operation(self, name: str) -> AsyncIterator[None]:
        """Be the only one who changes what has this name."""
        async with self.names.alone(_number(name)):
            # Whoever began these died: who is alive holds the lock.
            for leftover in self.store.rows("name = ? AND state = 'loading'", name):
                await self._undo(leftover)
            yield

    async def check_folder(self, path: Path) -> None:
        rank = self._engine.max_rank
        await run_in_threadpool(check_folder, path, self.root, rank)

    def _check_own_names(self, name: str) -> None:
        if self.backend is None:
            return
        if name in (*self.backend.own_models(), *self.backend.own_adapters()):
            raise AdapterConflictError(
                f"{name!r} is a model or adapter that the engine was started with: "
                "choose another name."
            )

    def check_capacity(self, pinned: int, others: int) -> None:
        """Refuse what would leave the engine no room to run an adapter."""
        if not pinned or self.backend is None:
            return
        slots = self.backend.slots
        others += len(self.backend.own_adapters())
        if pinned > slots or (pinned == slots and others):
            raise AdapterCapacityError(
                f"The engine computes {slots} adapter(s) at once, {pinned} would be "
                f"pinned and {others} would share the rest: unpin or delete some, or "
                "start it with more."
            )

    async def _retire_soon(self, adapter: Adapter) -> None:
        """Unload what no new request sees, as soon as no old one uses it."""
        retiring = self._spawn(self._retire(adapter))
        await asyncio.wait({retiring}, timeout=UNLOAD_ANSWER_S)

    async def _retire(self, adapter: Adapter) -> None:
        async with self.leases.ended(adapter.id):
            try:
                if self.backend is not None and not adapter.by_handler:
                    await self.backend.unload(adapter)
            except AdapterError as error:
                logger.error("Adapter %r stays in memory: %s", adapter.name, error)
            await self._write(self.store.discard, adapter.id)

    async def _write(self, method: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Write to the table in a thread: other processes may have to be waited for."""
        return await run_in_threadpool(method, *args, **kwargs)

    async def _carry_out(self, operation: Coroutine[Any, Any, T]) -> T:
        return await asyncio.shield(self._spawn(operation))

    def _spawn(self, operation: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(operation)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.store.close()
        self.names.close()
        self.users.close()


def _number(name: str) -> int:
    """Return the lock of a name. That two share one is as good as impossible."""
    return int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "big")
