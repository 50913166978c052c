"""A server's start: what was registered before is there again."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from ...engine import AdapterBackend
from ...exceptions import AdapterEngineError, AdapterError
from ...logging_config import get_logger
from .adapter import Adapter
from .adapters import Adapters
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
    await _restore_registered(adapters, adapters.backend)


async def _restore_registered(adapters: Adapters, backend: AdapterBackend) -> None:
    """Load as many as the engine keeps; the others are loaded when they are used."""
    pinned = others = loaded = 0
    # What failed before takes no room from what did not, nor anything from pins.
    order = "state = 'failed', pin DESC, id DESC"
    for adapter in adapters.store.rows(f"{REGISTERED} ORDER BY {order}"):
        has_room = backend.kept is None or loaded < backend.kept
        load = adapter.pin or (adapter.preload and has_room)
        try:
            adapters.loader.check_capacity(
                pinned + adapter.pin, others + (not adapter.pin)
            )
            await _restore_one(adapters, adapter, load=load)
        except AdapterEngineError:
            raise
        except AdapterError as error:
            logger.error("Adapter %r cannot be loaded: %s", adapter.name, error)
            adapters.store.fail(adapter, str(error))
        else:
            pinned += adapter.pin
            others += not adapter.pin
            loaded += load


async def _restore_one(adapters: Adapters, adapter: Adapter, *, load: bool) -> None:
    await adapters.loader.check_folder(adapter.path)
    if load:
        await adapters.loader.load_and_pin(adapter)
    adapters.store.change(adapter, state="ready", loaded=load, reason=None)
