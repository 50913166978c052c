"""The interface of a running engine."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:  # Engines are patched in processes that serve nothing.
    from fastapi import FastAPI

    from ..adapters.backend import AdapterBackend
    from ..adapters.registry import AdapterRegistry
    from ..settings import Settings


class EngineRuntime:
    """Base class of running engines; by default, no capability is supported.

    Created once for an app that has started, after its lifespan has set up its state.

    Args:
        app: the engine's app. The engine may be reached through it, or in another way,
            such as a global of a module.
    """

    #: Seconds that one ``/ping`` waits for :meth:`check`. A later result is reported by
    #: the next one.
    check_wait_s: ClassVar[float] = 0.4

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    def adapter_backend(self) -> AdapterBackend | None:
        """Return the adapter backend, if the description has ``loads_adapters``."""
        return None

    def max_concurrency(self) -> int | None:
        """Return how many requests the engine processes at once; None: unknown."""
        return None

    async def open_adapter_registry(
        self, backend: AdapterBackend | None, settings: Settings
    ) -> AdapterRegistry:
        """Open the registry of adapters, and restore those that are registered.

        The default is shared by the processes of one machine. Override it for an engine
        that runs on several.

        Raises:
            StorageError: the registry's folder cannot be used.
        """
        # Imported late: only servers with adapters need it.
        from ..adapters.runtime import open_local_registry

        return await open_local_registry(backend, settings)

    async def check(self) -> None:
        """Return once the engine has responded, without generating anything.

        An engine without such a call is inspected instead. Called for each ``/ping``;
        one call at a time.

        Raises:
            EngineUnhealthyError: the engine is dead.
        """

    async def probe_generation(self) -> None:
        """Return once the engine is known to make progress, or cannot be probed.

        Called when requests have waited long without any progress. It generates a token
        of its own. Cancelled when the result is no longer needed.

        Raises:
            EngineUnhealthyError: the engine is dead.
        """

    def processes(self) -> Collection[int]:
        """Return the pids of the engine's processes on this machine.

        Leave out processes that use CPU time when idle. Called when the engine does not
        respond: an engine that uses CPU time is given more time.
        """
        return ()
