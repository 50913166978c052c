"""Adapters of an app: there from its start to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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

if TYPE_CHECKING:  # With it comes SQLite, which only a server with adapters needs.
    from .registry import AdapterRegistry

logger = get_logger(__name__)

#: The server's name where no engine has one.
_SERVER: Final = "app"


class AdapterRuntime:
    """Opens the :class:`AdapterRegistry` at the start of the app.

    Args:
        find_backend: returns the engine's backend, once the app has started; None: the
            engine loads no adapters, or there is no engine.
    """

    def __init__(
        self,
        find_backend: Callable[[], AdapterBackend | None] | None,
        settings: Settings,
    ) -> None:
        self._find_backend = find_backend
        #: None before the start, and where the engine loads no adapters.
        self.backend: AdapterBackend | None = None
        self.settings = settings
        #: None before the start, after the end, and where there can be none.
        self.current: AdapterRegistry | None = None
        self._starting = asyncio.Lock()
        self._error: AdapterError | None = None

    @property
    def has_engine(self) -> bool:
        """Whether the app's engine is one that loads adapters."""
        return self._find_backend is not None

    async def started(self) -> AdapterRegistry:
        """Return the server's adapters; start now if the server has no start-up step.

        Raises:
            AdapterError: it has none, and why.
        """
        async with self._starting:
            if self.current is None and self._error is None:
                await self.start()
        if self._error is not None:
            raise self._error
        assert self.current is not None
        return self.current

    def check_absent(self, name: str) -> None:
        """Refuse an adapter where there can be none, unless the engine may have it.

        Raises:
            AdapterError: an engine that does not know the name would answer without it.
        """
        if (
            self._error
            and self.backend is not None
            and not self.backend.resolves_natively(name)
        ):
            raise self._error

    def base_model(self) -> str:
        """Return the name of the engine's own model, once there is the engine."""
        names = self.backend.own_models() if self.backend is not None else ()
        return next(iter(names), "")

    def surround(self, app: FastAPI) -> None:
        """Start after whatever else the app starts, and end before it ends."""
        surround_lifespan(app, self.start, self.stop)

    async def start(self) -> None:
        """Restore what is registered.

        Raises:
            ConfigurationError: the folder that was asked for cannot be used.
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
            adapters = self._open()
        except StorageError as error:
            if (path := self.settings.adapters_path) is not None:
                name = Settings.adapters_path.name
                raise ConfigurationError(name, str(path), str(error)) from error
            # Nobody asked for it by name, nor perhaps for adapters at all.
            logger.error("There will be no adapters: %s", error)
            self._error = AdapterEngineError(str(error))
            return
        from .restore import restore_adapters

        try:
            await restore_adapters(adapters, self.settings.bundled_adapters)
        except BaseException:
            await adapters.close()
            raise
        if self.backend is not None:
            self.backend.attach(adapters)
        self.current = adapters

    async def stop(self) -> None:
        adapters, self.current = self.current, None
        self._error = AdapterEngineError("The server is shutting down.")
        if adapters is not None:
            await adapters.close()

    def _open(self) -> AdapterRegistry:
        from ..storage.container import container_id
        from ..storage.folder import default_parent, private_folder
        from .registry import AdapterRegistry

        parent = self.settings.adapters_path or default_parent("sagemaker_adapters")
        name = _SERVER if self.backend is None else self.backend.server_name
        # A container's own, also where several share /dev/shm.
        folder = private_folder(parent, f"{name}-{container_id()}")
        return AdapterRegistry(self.backend, folder, self.settings.adapters_root)
