"""A running TensorRT-LLM, as the core sees it."""

from __future__ import annotations

from typing import Any

from model_hosting_container_standards.engines import EngineRuntime

from . import health
from .adapters import TensorRTAdapters


class TensorRTRuntime(EngineRuntime):
    """The ``EngineRuntime`` of an app whose state has TensorRT-LLM's server.

    It has no processes: they spin while they have nothing to do.
    """

    def adapter_backend(self) -> TensorRTAdapters:
        return TensorRTAdapters(self._server)

    async def check(self) -> None:
        health.check(self._server)

    async def probe_generation(self) -> None:
        await health.probe_generation(self._server)

    @property
    def _server(self) -> Any:
        return self.app.state.openai_server
