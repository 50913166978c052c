"""The decorated app as the app of an engine with registered adapters."""

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
    """An ``AdapterBackend`` that does nothing, so that only our code is measured."""

    server_name: Final = "bench"
    #: With more adapters, each request checks that the adapter's files exist.
    cache_size: Final = 16

    def attach(self, _adapters: RegisteredAdapters) -> None:
        """Do nothing: this engine adds no routes."""

    def own_models(self) -> Collection[str]:
        return ("base",)

    async def load(self, _adapter: Adapter) -> None:
        """Load nothing."""

    async def unload(self, _adapter: Adapter) -> None:
        """Unload nothing."""


class Engine(api.Engine):
    """An ``Engine`` that owns every app."""

    description = EngineDescription(name="bench", loads_adapters=True)

    def owns(self, _app: FastAPI) -> bool:
        return True

    def start(self, app: FastAPI) -> Runtime:
        return Runtime(app)


class Runtime(EngineRuntime):
    """The ``EngineRuntime`` of the benchmark's engine."""

    def adapter_backend(self) -> Backend:
        return Backend()


def build(state: Path) -> FastAPI:
    """Return the decorated app, whose adapter table is stored below ``state``."""
    engines = [Engine()]
    published = mock.patch.object(registry, "installed_engines", return_value=engines)
    environ = mock.patch.dict(os.environ, SAGEMAKER_ADAPTERS_PATH=str(state))
    with published, environ:
        return application.build_standard()


@asynccontextmanager
async def start_with(count: int) -> AsyncIterator[FastAPI]:
    """Start the app with ``count`` registered adapters."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        app = build(folder / "state")
        async with app.router.lifespan_context(app):
            for adapter in NAMES[:count]:
                src = write_adapter(folder / adapter)
                await registration(adapter, src).exchange().ask(app)
            await ask_for("unknown").exchange().ask(app, status=404)
            yield app
