"""Opens and closes the adapter registry with the app."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI

from ..asgi.lifespan import surround_lifespan
from ..exceptions import (
    AdapterEngineError,
    AdapterError,
    ConfigurationError,
    StorageError,
)
from ..logging_config import get_logger
from ..settings import Settings
from .backend import AdapterBackend

if TYPE_CHECKING:  # It imports SQLite, which only servers with adapters need.
    from .registry import AdapterRegistry

logger = get_logger(__name__)

#: Opens the registry of a server, and restores the adapters that are registered.
OpenRegistry = Callable[[AdapterBackend | None, Settings], Awaitable["AdapterRegistry"]]

#: The server's name if no engine provides one.
_SERVER: Final = "app"


class AdapterRuntime:
    """Opens the :class:`AdapterRegistry` when the app starts, and closes it at the end.

    Args:
        find_backend: returns the engine's backend, once the app has started; None: the
            engine loads no adapters, or no engine is used.
        open_registry: opens the registry, by default that of this machine.
    """

    def __init__(
        self,
        find_backend: Callable[[], AdapterBackend | None] | None,
        settings: Settings,
        open_registry: OpenRegistry | None = None,
    ) -> None:
        self._find_backend = find_backend
        self._open_registry = open_registry or open_local_registry
        #: None before the start, and where the engine loads no adapters.
        self.backend: AdapterBackend | None = None
        self.settings = settings
        #: None before startup, after shutdown, and where adapters are unavailable.
        self.current: AdapterRegistry | None = None
        self._starting = asyncio.Lock()
        self._error: AdapterError | None = None

    @property
    def has_engine(self) -> bool:
        """Whether the app's engine is one that loads adapters."""
        return self._find_backend is not None

    async def started(self) -> AdapterRegistry:
        """Return the adapters; starts them if the server does not run the lifespan.

        Raises:
            AdapterError: adapters are unavailable; the text says why.
        """
        async with self._starting:
            if self.current is None and self._error is None:
                await self.start()
        if self._error is not None:
            raise self._error
        assert self.current is not None
        return self.current

    def check_unavailable(self, name: str) -> None:
        """Reject a name while adapters are unavailable, unless the engine resolves it.

        Raises:
            AdapterError: the engine would ignore the name and answer by its base model.
        """
        if (
            self._error
            and self.backend is not None
            and not self.backend.resolves_natively(name)
        ):
            raise self._error

    def base_model(self) -> str:
        """Return the name of the engine's base model; empty without an engine."""
        return "" if self.backend is None else self.backend.default_model()

    def surround(self, app: FastAPI) -> None:
        """Start after the app's own start-up, and stop before its own shutdown."""
        surround_lifespan(app, self.start, self.stop)

    async def start(self) -> None:
        """Open the registry, and restore the registered adapters.

        Raises:
            ConfigurationError: ``SAGEMAKER_ADAPTERS_PATH`` cannot be used.
        """
        self._error = None
        if self._find_backend is not None:
            self.backend = self._find_backend()
        if self.backend is not None:
            self.backend.prepare()
            if reason := self.backend.unavailable():
                from .bundled import report_bundled

                report_bundled(self.settings.bundled_adapters, reason)
                self._error = AdapterError(reason)
                return
        try:
            adapters = await self._open_registry(self.backend, self.settings)
        except StorageError as error:
            if (path := self.settings.adapters_path) is not None:
                name = Settings.adapters_path.name
                raise ConfigurationError(name, str(path), str(error)) from error
            # The default folder: the operator may not even use adapters.
            logger.error("Adapters are unavailable: %s", error)
            self._error = AdapterEngineError(str(error))
            return
        if self.backend is not None:
            self.backend.attach(adapters)
        self.current = adapters

    async def stop(self) -> None:
        adapters, self.current = self.current, None
        self._error = AdapterEngineError("The server is shutting down.")
        if adapters is not None:
            await adapters.close()


async def open_local_registry(
    backend: AdapterBackend | None, settings: Settings
) -> AdapterRegistry:
    """Open the registry of the processes of this machine, and restore what it has.

    Raises:
        StorageError: its folder cannot be used.
    """
    # Imported late: only servers with adapters need SQLite.
    from ..storage.container import container_id
    from ..storage.folder import default_parent, private_folder
    from .local_registry import LocalRegistry
    from .restore import restore_adapters

    parent = settings.adapters_path or default_parent("sagemaker_adapters")
    name = _SERVER if backend is None else backend.server_name
    # Separate for each container, as several may share /dev/shm.
    folder = private_folder(parent, f"{name}-{container_id()}")
    adapters = LocalRegistry(backend, folder, settings.adapters_root)
    try:
        await restore_adapters(adapters, settings.bundled_adapters)
    except BaseException:
        await adapters.close()
        raise
    return adapters
