"""The decorated app as that of an engine, for which adapters are registered."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

from fastapi import FastAPI

import application
from adapter_requests import NAMES, ask_for, registration, write_adapter
from model_hosting_container_standards.adapters.adapter import Adapter
from model_hosting_container_standards.adapters.backend import RegisteredAdapters
from model_hosting_container_standards.engines import api, registry


class Backend:
    """An ``AdapterBackend`` that takes no time: what is measured is the rest."""

    server_name: Final = "bench"
    max_rank: Final = 8
    slots: Final = 8
    slots_option: Final = None
    #: With more than that, a request looks whether the adapter's files are there.
    cache_size: Final = 16
    flags: Final = ()

    def unavailable(self) -> None:
        """Nothing keeps it from loading adapters."""

    def prepare(self) -> None:
        """Nothing has to be prepared."""

    def base_model(self) -> None:
        """Nothing is known of it."""

    def attach(self, _adapters: RegisteredAdapters) -> None:
        """It has no routes of its own that should see them."""

    def own_models(self) -> Collection[str]:
        return ("base",)

    def own_adapters(self) -> Collection[str]:
        return ()

    def resolves_natively(self, name: str) -> bool:
        return name == "base"

    async def load(self, _adapter: Adapter) -> None:
        """Load nothing."""

    async def unload(self, _adapter: Adapter) -> None:
        """Nothing was loaded."""

    async def pin(self, _adapter: Adapter) -> None:
        """Nothing is ever dropped."""

    async def unpin(self, _adapter: Adapter) -> None:
        """Nothing was pinned."""


class Engine:
    """The ``Engine`` that owns every app."""

    name: Final = "bench"
    command: Final = None
    health_path: Final = "/health"
    adapter_path: Final = "model"
    metrics_is_json: Final = False
    invocation_paths: Final[Mapping[str, Sequence[str]]] = {}
    moved_names: Final[Mapping[str, Sequence[Any]]] = {}

    def patch(self) -> None:
        """Nothing has to be patched."""

    def problems(self) -> Collection[str]:
        return ()

    async def check(self, _app: FastAPI) -> None:
        """It answers."""

    async def probe_generation(self, _app: FastAPI) -> None:
        """It has answered."""

    def processes(self, _app: FastAPI) -> Collection[int]:
        return ()

    def owns(self, _app: FastAPI) -> bool:
        return True

    def inference_paths(self, _app: FastAPI) -> Collection[str]:
        return ()

    def api_keys(self, _app: FastAPI) -> Collection[str]:
        return ()

    def adapter_backend(self, _app: FastAPI) -> Backend:
        return Backend()


def build(state: Path) -> FastAPI:
    """Return the decorated app, which keeps its adapters' table below ``state``."""
    engine: api.Engine = Engine()
    published = mock.patch.object(registry, "installed_engines", return_value=[engine])
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
