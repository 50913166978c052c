"""A server's start: what was registered before is there again."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..exceptions import AdapterCrashError, AdapterEngineError, AdapterError
from ..logging_config import get_logger
from .adapter import DEADLY, Adapter
from .backend import AdapterBackend
from .bundled import add_bundled
from .registry import AdapterRegistry

logger = get_logger(__name__)

# Numbers of locks; adapters' ids are higher.
#: Had by the one process that joins.
_JOINING: Final = 0
#: Shared by every process of a running server.
_RUNNING: Final = 1

#: Why an adapter is not loaded that may have ended an engine, where nobody saw it: the
#: first time the next start tries it once more.
ENDED_ONCE: Final = "The server ended while this adapter was loaded at its start."
ENDED: Final = (
    "The server ended twice while this adapter was loaded at its start. POST it again, "
    "or update it, to try once more."
)


async def restore_adapters(adapters: AdapterRegistry, bundled: Path) -> None:
    """Restore what is registered, unless another process of this server has done so.

    ``bundled`` is the folder of what comes with the model.
    """
    locks = adapters.users
    async with locks.exclusive(_JOINING):
        locks.share(_RUNNING)
        if locks.try_upgrade(_RUNNING):
            await _restore(adapters, bundled)
            locks.share(_RUNNING)


async def _restore(adapters: AdapterRegistry, bundled: Path) -> None:
    store = adapters.store
    # Begun by processes that died, or held by handlers that know nothing any more.
    for row in store.rows():
        if row.by_handler or row.state in ("loading", "draining"):
            store.discard(row.id)
    if adapters.backend is None:
        return
    store.unload_all()
    add_bundled(adapters, bundled)
    await _restore_registered(adapters, adapters.backend)


async def _restore_registered(
    adapters: AdapterRegistry, backend: AdapterBackend
) -> None:
    """Load as many as the engine keeps; the others are loaded when they are used."""
    pinned = others = 0
    loaded = len(backend.own_adapters())
    kept = backend.cache_size
    for adapter in sorted(adapters.view().values(), key=_urgency):
        has_room = kept is None or loaded < kept
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
    adapters: AdapterRegistry, adapter: Adapter, *, load: bool
) -> None:
    if adapter.reason in (DEADLY, ENDED):
        raise AdapterError(adapter.reason)
    # The weights of one that is loaded later are read then: there may be a thousand.
    await adapters.loader.check_folder(adapter.path, values=load)
    if load:
        # An engine may end with it, and this start; or somebody ends both, by chance.
        adapters.store.fail(
            adapter, ENDED if adapter.reason == ENDED_ONCE else ENDED_ONCE
        )
        try:
            await adapters.loader.load_and_pin(adapter)
        except AdapterCrashError:
            adapters.store.fail(adapter, DEADLY)
            raise
    adapters.store.change(adapter, state="ready", loaded=load, reason=None)
