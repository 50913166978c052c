"""The decorated app as that of an engine, for which adapters are registered."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from unittest import mock

from fastapi import FastAPI

import application
from adapter_requests import NAMES, ask_for, registration, write_adapter
from model_hosting_container_standards.adapters.adapter import Adapter
from model_hosting_container_standards.adapters.backend import (
    AdapterBackend,
    RegisteredAdapters,
)
from model_hosting_container_standards.engines import api, registry
from model_hosting_container_standards.engines.description import EngineDescription
from model_hosting_container_standards.engines.runtime import EngineRuntime


class Backend(AdapterBackend):
    """An ``AdapterBackend`` that takes no time: what is measured is the rest."""

    server_name: Final = "bench"
    #: With more than that, a request looks whether the adapter's files are there.
    cache_size: Final = 16

    def attach(self, _adapters: RegisteredAdapters) -> None:
        """It has no routes of its own that should see them."""

    def own_models(self) -> Collection[str]:
        return ("base",)

    async def load(self, _adapter: Adapter) -> None:
        """Load nothing."""

    async def unload(self, _adapter: Adapter) -> None:
        """Nothing was loaded."""


class Engine(api.Engine):
    """The ``Engine`` that owns every app."""

    description = EngineDescription(name="bench", loads_adapters=True)

    def owns(self, _app: FastAPI) -> bool:
        return True

    def start(self, app: FastAPI) -> Running:
        return Running(app)


class Running(EngineRuntime):
    """Its ``EngineRuntime``."""

    def adapter_backend(self) -> Backend:
        return Backend()


def build(state: Path) -> FastAPI:
    """Return the decorated app, which keeps its adapters' table below ``state``."""
    engines = [Engine()]
    published = mock.patch.object(registry, "installed_engines", return_value=engines)
    environ = mock.patch.dict(os.environ, SAGEMAKER_ADAPTERS_PATH=str(state))
    with published, environ:
        return application.build_standard()


@asynccontextmanager
async def start_with(count: int) -> AsyncIterator[FastAPI]:
    """Start the app with so many adapters."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        app = build(folder / "state")
        async with app.router.lifespan_context(app):
            for adapter in NAMES[:count]:
                src = write_adapter(folder / adapter)
                await registration(adapter, src).exchange().ask(app)
            await ask_for("unknown").exchange().ask(app, status=404)
            yield app
