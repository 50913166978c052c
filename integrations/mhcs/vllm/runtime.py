"""The ``EngineRuntime`` of vLLM."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from model_hosting_container_standards.engines import EngineRuntime

from . import health
from .adapters import VLLMAdapters
from .processes import engine_processes


class VLLMRuntime(EngineRuntime):
    """The runtime of a vLLM app, whose ``state`` holds the engine's client."""

    def adapter_backend(self) -> VLLMAdapters:
        return VLLMAdapters(self.app)

    def max_concurrency(self) -> int | None:
        # Engine clients before V1 have no configuration of the scheduler.
        config = getattr(self._client, "vllm_config", None)
        if config is None:
            return None
        # The scheduler's limit is that of one rank.
        ranks: int = config.parallel_config.data_parallel_size
        return int(config.scheduler_config.max_num_seqs) * ranks

    async def check(self) -> None:
        await health.check(self._client)

    async def probe_generation(self) -> None:
        await health.probe_generation(self._client)

    def processes(self) -> Collection[int]:
        return engine_processes()

    @property
    def _client(self) -> Any:
        return getattr(self.app.state, "engine_client", None)
