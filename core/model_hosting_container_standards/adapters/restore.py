"""Restores the registered adapters when a server starts."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..exceptions import AdapterCrashError, AdapterEngineError, AdapterError
from ..logging_config import get_logger
from .adapter import ENGINE_CRASHED, Adapter
from .backend import AdapterBackend
from .bundled import add_bundled
from .local_registry import LocalRegistry

logger = get_logger(__name__)

# Lock numbers; adapter ids are higher.
#: Held while one process restores.
_RESTORING: Final = 0
#: Shared by every process of a running server.
_RUNNING: Final = 1

#: The reasons kept while an adapter is loaded at startup, in case the server dies
#: meanwhile. After the first time, the next start tries again.
INTERRUPTED_ONCE: Final = "The server ended while it loaded this adapter at startup."
INTERRUPTED_TWICE: Final = (
    "The server ended twice while it loaded this adapter at startup. POST or update "
    "the adapter to try again."
)


async def restore_adapters(adapters: LocalRegistry, bundled: Path) -> None:
    """Restore the registered adapters, unless another process of the server has.

    ``bundled`` is the folder of the adapters that come with the model.
    """
    locks = adapters.users
    async with locks.exclusive(_RESTORING):
        locks.share(_RUNNING)
        if locks.try_upgrade(_RUNNING):
            await _restore(adapters, bundled)
            locks.share(_RUNNING)


async def _restore(adapters: LocalRegistry, bundled: Path) -> None:
    store = adapters.store
    # Left over by processes that died, or loaded by handlers into an earlier process.
    for row in store.rows():
        if row.by_handler or row.state in ("loading", "draining"):
            store.discard(row.id)
    if adapters.backend is None:
        return
    store.unload_all()
    add_bundled(adapters, bundled)
    await _restore_registered(adapters, adapters.backend)


async def _restore_registered(adapters: LocalRegistry, backend: AdapterBackend) -> None:
    """Load as many as the engine keeps; the others are loaded on first use."""
    pinned = others = 0
    loaded = len(backend.own_adapters())
    cache_size = backend.cache_size
    for adapter in sorted(adapters.view().values(), key=_urgency):
        has_room = cache_size is None or loaded < cache_size
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


def _urgency(adapter: Adapter) -> tuple[bool, bool, int]:
    """Return a sort key: what failed before takes no room, and pins are first."""
    return adapter.state == "failed", not adapter.pin, -adapter.id


async def _restore_one(
    adapters: LocalRegistry, adapter: Adapter, *, load: bool
) -> None:
    if adapter.reason in (ENGINE_CRASHED, INTERRUPTED_TWICE):
        raise AdapterError(adapter.reason)
    # There may be a thousand: weights are only read of those that are loaded now.
    await adapters.loader.check_folder(adapter.path, values=load)
    if load:
        # Written first, as the adapter may crash the engine and this process with it.
        # A single exit may be a coincidence, so the next start tries once more.
        is_second = adapter.reason == INTERRUPTED_ONCE
        adapters.store.fail(
            adapter, INTERRUPTED_TWICE if is_second else INTERRUPTED_ONCE
        )
        try:
            await adapters.loader.load_and_pin(adapter)
        except AdapterCrashError:
            adapters.store.fail(adapter, ENGINE_CRASHED)
            raise
    adapters.store.change(adapter, state="ready", loaded=load, reason=None)
