"""Ray Serve LLM's model replica, whose health includes that of its engine."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from prometheus_client import Metric
from ray import serve
from ray.serve.llm.deployment import LLMServer
from starlette.datastructures import State

from mhcs.vllm.runtime import VLLMRuntime
from model_hosting_container_standards.engines import EngineRuntime
from model_hosting_container_standards.exceptions import AdapterError
from model_hosting_container_standards.health.engine_health import (
    EngineHealth,
    retrieve_exception,
)
from model_hosting_container_standards.logging_config import get_logger
from model_hosting_container_standards.settings import read_settings

from .model_adapters import AdapterLimits
from .process import end_process, read_own_metrics
from .progress import RequestProgress
from .replica_adapters import ReplicaAdapters

logger = get_logger(__name__)

#: The names in the state of vLLM's server of what the engine of Ray has as attributes.
_ATTRIBUTES: Final = {
    "engine_client": "_engine_client",
    "openai_serving_models": "_oai_models",
    "openai_serving_chat": "_oai_serving_chat",
    "openai_serving_completion": "_oai_serving_completion",
    "openai_serving_tokenization": "_oai_serving_tokenization",
    "openai_serving_transcription": "_oai_serving_transcription",
    "serving_embedding": "_oai_serving_embedding",
    "serving_scores": "_oai_serving_scores",
}


class SageMakerLLMServer(LLMServer):  # type: ignore[misc] # no types of Ray
    """The model replica. Serve replaces it if its engine is dead, or hung.

    Name it in each model of the Serve configuration::

        server_cls: mhcs.ray:SageMakerLLMServer
    """

    #: None until the engine has started.
    _health: EngineHealth | None = None
    _runtime: EngineRuntime

    async def start(self) -> None:
        """Start the engine, the check of its health and its adapters."""
        await super().start()
        self._requests = RequestProgress()
        app = _app_of(self.engine)
        self._runtime = VLLMRuntime(app)
        stall_s = read_settings().ping_stall
        self._health = EngineHealth(lambda: self._runtime, self._requests, stall_s)
        application = serve.get_replica_context().app_name
        self._adapters = ReplicaAdapters(app, application)
        await self._adapters.start()

    async def check_health(self) -> None:
        """Raise an error if the engine is dead, or hung, and end the replica.

        Serve's controller calls it every ``health_check_period_s``. By itself it would
        go on to send requests until the third error.
        """
        if self._health is not None and (problem := await self._health.problem()):
            if problem.ends_server:
                # A stopped process would outlive the replica, with the GPU's memory.
                _kill(self._runtime.processes())
                logger.error("The replica ends: %s", problem.reason)
                end_process()
            raise RuntimeError(problem.reason)
        await super().check_health()

    def _check_soon(self) -> None:
        """Check the engine after the error of a request, which its death may be."""
        self._check = asyncio.ensure_future(self.check_health())
        self._check.add_done_callback(retrieve_exception)

    async def adapter_limits(self) -> AdapterLimits:
        """Return what adapters the engine can load, for the coordinator."""
        return self._adapters.limits()

    async def check_adapter(
        self, src: str, root: Path | None, values: bool
    ) -> tuple[str | AdapterError, AdapterLimits]:
        """Check an adapter's folder, for the coordinator.

        Returns:
            the real path, or what is wrong; and what the engine can load.
        """
        path = await self._adapters.call("check_folder", src, root, values=values)
        return path, self._adapters.limits()

    async def call_adapters(self, method: str, *args: Any, **options: Any) -> Any:
        """Call a method of the engine's adapter backend, for the coordinator."""
        return await self._adapters.call(method, *args, **options)

    async def read_metrics(self) -> Sequence[Metric]:
        """Return the metrics of this replica, for the ingress' page.

        Those of the engine are in Ray's own instead, unless ``log_engine_metrics`` is
        false in the model's configuration.
        """
        return read_own_metrics()

    async def _run_request(self, request: Any, **options: Any) -> Any:
        """Run a request; all methods for requests do so by this one."""
        run = partial(super()._run_request, request, **options)
        outputs = self._adapters.answer(getattr(request, "model", None), run)
        return self._requests.follow(outputs, self._check_soon)


def _app_of(engine: Any) -> FastAPI:
    """Return an app with the state that vLLM's server would have."""
    app = FastAPI()
    app.state = getattr(engine, "_app_state", None) or _state_of(engine)
    return app


def _state_of(engine: Any) -> State:
    """Return what is left of the state up to Ray 2.59, which keeps its values only."""
    state = State()
    for name, attribute in _ATTRIBUTES.items():
        if (value := getattr(engine, attribute, None)) is not None:
            setattr(state, name, value)
    return state


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
