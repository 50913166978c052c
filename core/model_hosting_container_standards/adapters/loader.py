"""Loads adapters into the engine, and keeps the table consistent with it."""

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
from .adapter import ENGINE_CRASHED, Adapter
from .backend import AdapterBackend
from .files import locate
from .table import AdapterTable

logger = get_logger(__name__)

T = TypeVar("T")


class AdapterLoader:
    """Loads, pins and unloads adapters. The caller must hold the lock of their name.

    ``backend`` is None if only registered handlers load adapters; ``root`` is the only
    folder adapters may be loaded from, None: any.
    """

    def __init__(
        self, backend: AdapterBackend | None, store: AdapterTable, root: Path | None
    ) -> None:
        self.backend = backend
        self.root = root
        self._store = store

    async def check_folder(self, src: str, *, values: bool = True) -> str:
        """Check an adapter's folder, and return its real path.

        Without ``values``, only the header of its weights is read.

        Raises:
            AdapterError: it is missing, or cannot be loaded.
        """
        return await self._engine.check_folder(src, self.root, values=values)

    async def locate(self, src: str) -> str:
        """Return the real path of an adapter's folder.

        Raises:
            AdapterError: it is not a path, or not below ``root``.
        """
        if self.backend is None:
            return str(await run_in_threadpool(locate, src, self.root))
        return await self.backend.locate(src, self.root)

    def check_name(self, name: str) -> None:
        """Raise an error if the engine itself uses this name.

        Raises:
            AdapterConflictError: it is the name of a model or adapter of the engine.
        """
        if self.backend is None:
            return
        if name in (*self.backend.own_models(), *self.backend.own_adapters()):
            raise AdapterConflictError(
                f"{name!r} is already a model or adapter of the engine: choose another "
                "name."
            )

    def check_capacity(self, pinned: int, others: int) -> None:
        """Check that the engine has a slot for every adapter, if any are pinned.

        Raises:
            AdapterCapacityError: it has too few.
        """
        if not pinned or self.backend is None:
            return
        slots = self.backend.slots
        if not slots:
            raise AdapterCapacityError("This server's engine cannot pin adapters.")
        option = self.backend.slots_option
        advice = f", or start it with more slots ({option})" if option else ""
        if (most := self.backend.max_pinned) is not None:
            if pinned > most:
                raise AdapterCapacityError(
                    f"The engine can pin {most} adapter(s), and {pinned} are too many. "
                    f"Unpin or delete some{advice}."
                )
            return
        others += len(self.backend.own_adapters())
        # An engine may schedule as many unpinned adapters at once as it has slots. With
        # some slots pinned, it would run out of slots in the middle of a step.
        if pinned + others > slots:
            raise AdapterCapacityError(
                f"The engine has {slots} slot(s) for adapters. If any is pinned, each "
                f"adapter needs one: {pinned} pinned and {others} other(s) are too "
                f"many. Unpin or delete some{advice}."
            )

    async def load_reserved(self, adapter: Adapter) -> bool:
        """Load a new adapter if it asks for preload or pin; return whether it did."""
        if not (adapter.preload or adapter.pin):
            return False
        await self.load_and_pin(adapter)
        return True

    async def load_and_pin(self, adapter: Adapter) -> None:
        """Load an adapter into the engine, and pin it if requested, or do neither.

        Raises:
            AdapterError: the engine refuses.
        """
        with loading_adapter():
            await self._load_into_engine(adapter)
        if not adapter.pin:
            return
        try:
            await self._engine.pin(adapter)
        except AdapterError:
            await self._unload(adapter)
            raise

    async def load(self, adapter: Adapter) -> None:
        """Load a registered adapter; if it cannot be loaded, mark it as failed.

        Raises:
            AdapterError: it cannot be loaded.
        """
        async with self.recording_failure(adapter):
            await self.check_folder(adapter.path)
            await self.load_and_pin(adapter)
            await self._change(adapter, loaded=True)

    @asynccontextmanager
    async def recording_failure(self, adapter: Adapter) -> AsyncIterator[None]:
        """Mark a registered adapter as failed, with the reason, if the block raises."""
        try:
            yield
        except AdapterCrashError:
            # Else each request that names it would crash a restarted engine.
            await self.write(self._store.fail, adapter, ENGINE_CRASHED)
            raise
        except (AdapterEngineError, AdapterCapacityError):
            raise  # The adapter is not at fault.
        except AdapterError as error:
            await self.write(self._store.fail, adapter, str(error))
            raise

    async def pin(self, adapter: Adapter) -> None:
        """Pin a registered adapter; load it first if necessary.

        Raises:
            AdapterError: it cannot be pinned.
        """
        if adapter.by_handler:
            raise AdapterError(
                f"Adapter {adapter.name!r} was loaded by a registered handler, and "
                "cannot be pinned."
            )
        await self._change(adapter, self.check_capacity, pin=True)
        try:
            if adapter.loaded:
                # The engine may have evicted it, and then reads its files again.
                await self.check_folder(adapter.path)
                await self._load_into_engine(adapter)
            else:
                await self.load(msgspec.structs.replace(adapter, pin=False))
            await self._engine.pin(adapter)
        except BaseException:
            await self._change(adapter, pin=adapter.pin)
            raise

    async def _load_into_engine(self, adapter: Adapter) -> None:
        engine_id = await self._engine.load(adapter)
        if engine_id is not None:
            await self._change(adapter, engine_id=engine_id)

    async def unpin(self, adapter: Adapter) -> None:
        """Allow the engine to evict a pinned adapter.

        Raises:
            AdapterError: the engine cannot unpin it.
        """
        if self.backend is not None and adapter.loaded and not adapter.by_handler:
            # The engine may have to reload it from its files.
            await self.check_folder(adapter.path)
            await self.backend.unpin(adapter)
        await self._change(adapter, pin=False)

    async def undo(self, adapter: Adapter) -> None:
        """Unload and delete an adapter, such as one whose registration failed."""
        try:
            await self._unload(adapter)
        finally:
            await self.write(self._store.discard, adapter.id)

    async def retire(self, adapter: Adapter) -> None:
        """Unload and delete a drained adapter, unless another process has done so."""
        if self._store.has(adapter.id):
            await self.undo(adapter)

    async def write(self, method: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Write to the table in a worker thread, as it may wait for other processes."""
        return await run_in_threadpool(method, *args, **kwargs)

    @property
    def _engine(self) -> AdapterBackend:
        if self.backend is None:
            raise AdapterError(
                "This server loads adapters by registered handlers only."
            )
        return self.backend

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
