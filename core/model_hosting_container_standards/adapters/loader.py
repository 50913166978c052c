"""Loads adapters into the engine, and keeps the table true to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool

from ..exceptions import (
    AdapterCapacityError,
    AdapterConflictError,
    AdapterCrashError,
    AdapterEngineError,
    AdapterError,
)
from ..logging_config import get_logger
from ..observability.metrics import loading_adapter
from .adapter import DEADLY, Adapter
from .backend import AdapterBackend
from .files import check_folder, locate
from .table import AdapterTable

logger = get_logger(__name__)

T = TypeVar("T")


class AdapterLoader:
    """For one adapter at a time: the caller sees to it that nobody else changes it.

    ``backend`` is None where handlers alone load adapters; ``root`` is the only folder
    they may be loaded from, None: any.
    """

    def __init__(
        self, backend: AdapterBackend | None, store: AdapterTable, root: Path | None
    ) -> None:
        self.backend = backend
        self.root = root
        self._store = store

    async def check_folder(self, src: str, *, values: bool = True) -> str:
        """Return the real path of an adapter's folder that the engine may load.

        Without ``values``, only the header of its weights is read.

        Raises:
            AdapterError: there is none, or it may not be loaded.
        """
        return await run_in_threadpool(self._check_folder, src, values)

    def check_name(self, name: str) -> None:
        """Refuse a name that means something else to the engine."""
        if self.backend is None:
            return
        if name in (*self.backend.own_models(), *self.backend.own_adapters()):
            raise AdapterConflictError(
                f"{name!r} is a model or adapter that the engine has already: choose "
                "another name."
            )

    def check_capacity(self, pinned: int, others: int) -> None:
        """Refuse what would leave the engine no room to run an adapter."""
        if not pinned or self.backend is None:
            return
        slots = self.backend.slots
        if not slots:
            raise AdapterCapacityError("This server's engine cannot pin adapters.")
        others += len(self.backend.own_adapters())
        # An engine that computes as many others at once as it has slots, whatever is
        # pinned, would be out of slots in the middle of a step.
        if pinned + others > slots:
            option = self.backend.slots_option
            advice = f", or start it with more slots ({option})" if option else ""
            raise AdapterCapacityError(
                f"The engine has {slots} slot(s) for adapters. With a pinned one there "
                f"must be one for each: {pinned} pinned and {others} other(s) are too "
                f"many. Unpin or delete some{advice}."
            )

    async def load_reserved(self, adapter: Adapter) -> bool:
        """Load what is being registered, if it shall be; return whether it is."""
        if not (adapter.preload or adapter.pin):
            return False
        await self.load_and_pin(adapter)
        return True

    async def load_and_pin(self, adapter: Adapter) -> None:
        """Have the engine load an adapter, and pin it if it is to be, or neither.

        Raises:
            AdapterError: it refuses.
        """
        with loading_adapter():
            await self._engine.load(adapter)
        if not adapter.pin:
            return
        try:
            await self._engine.pin(adapter)
        except AdapterError:
            await self._unload(adapter)
            raise

    async def load(self, adapter: Adapter) -> None:
        """Load a registered adapter; one that cannot be loaded keeps the reason.

        Raises:
            AdapterError: it cannot be loaded.
        """
        async with self.keeping_reason(adapter):
            await self.check_folder(adapter.path)
            await self.load_and_pin(adapter)
            await self._change(adapter, loaded=True)

    @asynccontextmanager
    async def keeping_reason(self, adapter: Adapter) -> AsyncIterator[None]:
        """Let a registered adapter that is refused keep the reason, as failed."""
        try:
            yield
        except AdapterCrashError:
            # Or each request that names it would end another engine.
            await self.write(self._store.fail, adapter, DEADLY)
            raise
        except (AdapterEngineError, AdapterCapacityError):
            raise  # Neither tells anything of the adapter.
        except AdapterError as error:
            await self.write(self._store.fail, adapter, str(error))
            raise

    async def pin(self, adapter: Adapter) -> None:
        """Pin a registered adapter; load it first if it is not loaded.

        Raises:
            AdapterError: it cannot be pinned.
        """
        if adapter.by_handler:
            raise AdapterError(
                f"Adapter {adapter.name!r} was loaded by a handler, which has no pins."
            )
        await self._change(adapter, self.check_capacity, pin=True)
        try:
            if adapter.loaded:
                await self.check_folder(adapter.path)  # It may have to be read again.
                await self._engine.load(adapter)
            else:
                await self.load(msgspec.structs.replace(adapter, pin=False))
            await self._engine.pin(adapter)
        except BaseException:
            await self._change(adapter, pin=adapter.pin)
            raise

    async def unpin(self, adapter: Adapter) -> None:
        """Let the engine drop a pinned adapter when it needs the room.

        Raises:
            AdapterError: the engine cannot let go of it.
        """
        if self.backend is not None and adapter.loaded and not adapter.by_handler:
            await self.check_folder(adapter.path)  # It may have to be read again.
            await self.backend.unpin(adapter)
        await self._change(adapter, pin=False)

    async def undo(self, adapter: Adapter) -> None:
        """Leave nothing of a registration that did not get through."""
        try:
            await self._unload(adapter)
        finally:
            await self.write(self._store.discard, adapter.id)

    async def retire(self, adapter: Adapter) -> None:
        """Free what no request uses any more."""
        if self._store.has(adapter.id):
            await self.undo(adapter)

    async def write(self, method: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Write to the table in a thread: other processes may have to be waited for."""
        return await run_in_threadpool(method, *args, **kwargs)

    @property
    def _engine(self) -> AdapterBackend:
        if self.backend is None:
            raise AdapterError("This server's adapters are loaded by handlers only.")
        return self.backend

    def _check_folder(self, src: str, values: bool) -> str:
        path = locate(src, self.root)
        engine = self._engine
        check_folder(path, self.root, engine.max_rank, engine.base_model, values=values)
        return str(path)

    async def _unload(self, adapter: Adapter) -> None:
        if self.backend is None or adapter.by_handler:
            return
        try:
            await self.backend.unload(adapter)
        except AdapterError as error:
            logger.error("Adapter %r stays in memory: %s", adapter.name, error)

    async def _change(
        self,
        adapter: Adapter,
        check: Callable[[int, int], None] | None = None,
        **columns: Any,
    ) -> Adapter:
        return await self.write(self._store.change, adapter, check, **columns)
