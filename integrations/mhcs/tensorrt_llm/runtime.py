"""The ``EngineRuntime`` of TensorRT-LLM."""

from __future__ import annotations

from typing import Any

from model_hosting_container_standards.engines import EngineRuntime

from . import health
from .adapters import TensorRTAdapters


class TensorRTRuntime(EngineRuntime):
    """The runtime of an app whose ``state`` holds TensorRT-LLM's server.

    It reports no processes: they use CPU time even when idle, so that their CPU time
    does not tell whether they work.
    """

    def adapter_backend(self) -> TensorRTAdapters:
        return TensorRTAdapters(self._server)

    def max_concurrency(self) -> int | None:
        arguments = getattr(self._server.llm, "args", None)
        return getattr(arguments, "max_batch_size", None)

    async def check(self) -> None:
        health.check(self._server)

    async def probe_generation(self) -> None:
        await health.probe_generation(self._server)

    @property
    def _server(self) -> Any:
        return self.app.state.openai_server
