"""An engine whose ``/invocations`` is a function of the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI

import model_hosting_container_standards.engines.registry as engine_registry
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.engines.api import Engine
from model_hosting_container_standards.engines.description import EngineDescription
from model_hosting_container_standards.engines.runtime import EngineRuntime


class PlainEngine(Engine):
    """Owns any app; processes ``max_concurrency`` requests at once."""

    description = EngineDescription(name="test")

    def __init__(self, max_concurrency: int | None) -> None:
        self._max_concurrency = max_concurrency

    def owns(self, app: FastAPI) -> bool:
        return True

    def start(self, app: FastAPI) -> EngineRuntime:
        return PlainRuntime(app, self._max_concurrency)


class PlainRuntime(EngineRuntime):
    def __init__(self, app: FastAPI, max_concurrency: int | None) -> None:
        super().__init__(app)
        self._max_concurrency = max_concurrency

    def max_concurrency(self) -> int | None:
        return self._max_concurrency


def engine_app(
    handler: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    *,
    max_concurrency: int | None = None,
    app: FastAPI | None = None,
) -> FastAPI:
    """Return a bootstrapped app of the engine."""
    app = FastAPI() if app is None else app
    app.post("/invocations")(handler)
    engine = PlainEngine(max_concurrency)
    monkeypatch.setattr(engine_registry, "installed_engines", lambda: iter([engine]))
    return sagemaker.bootstrap(app)
