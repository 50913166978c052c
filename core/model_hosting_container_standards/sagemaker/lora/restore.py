"""A server's start: what was registered before is there again."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from starlette.concurrency import run_in_threadpool

from ...exceptions import AdapterEngineError, AdapterError
from ...logging_config import get_logger
from .adapter import Adapter
from .adapters import Adapters
from .files import locate
from .store import REGISTERED

logger = get_logger(__name__)

#: Every process of a running server shares this lock; adapters' ids are higher.
_RUNNING: Final = 0
_POLL_S: Final = 0.02


async def join(adapters: Adapters) -> int | None:
    """Restore what is registered, unless another process of this server has done so.

    Returns what to close (by ``os.close``) when the process leaves, if anything.
    """
    locks = adapters.users
    while (first := locks.try_alone(_RUNNING)) is None:
        try:
            locks.share(_RUNNING)
        except BlockingIOError:
            await asyncio.sleep(_POLL_S)  # The first one is at it, or has died of it.
        else:
            return None
    try:
        await _restore(adapters)
        locks.downgrade(first, _RUNNING)
    except BaseException:
        os.close(first)
        raise
    return first


async def _restore(adapters: Adapters) -> None:
    store = adapters.store
    # Begun by processes that died, or held by handlers that know nothing any more.
    for row in store.rows("by_handler OR state IN ('loading', 'leaving')"):
        store.discard(row.id)
    if adapters.backend is None:
        return
    store.unload_all()
    pinned = loaded = 0
    registered = store.rows(f"{REGISTERED} ORDER BY pin DESC, id DESC")
    others = sum(not adapter.pin for adapter in registered)
    kept = adapters.backend.kept
    for adapter in registered:
        wanted = adapter.preload and (kept is None or loaded < kept)
        pinned += adapter.pin
        loaded += wanted or adapter.pin
        try:
            if adapter.pin:
                adapters.operations.check_capacity(pinned, others)
            await _restore_one(adapters, adapter, load=wanted or adapter.pin)
        except AdapterEngineError:
            raise
        except AdapterError as error:
            logger.error("Adapter %r cannot be loaded: %s", adapter.name, error)
            store.fail(adapter, str(error))


async def _restore_one(adapters: Adapters, adapter: Adapter, *, load: bool) -> None:
    path = await run_in_threadpool(locate, adapter.path, adapters.operations.root)
    await adapters.operations.check_folder(path)
    if load and adapters.backend is not None:
        await adapters.backend.load(adapter)
        if adapter.pin:
            await adapters.backend.pin(adapter)
    adapters.store.change(adapter, state="ready", loaded=load, reason=None)
