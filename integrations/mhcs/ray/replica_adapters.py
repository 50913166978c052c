"""Adapters of the engine of one model replica."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

from fastapi import FastAPI

from mhcs.own_routes import http_errors
from mhcs.vllm.adapters import VLLMAdapters
from model_hosting_container_standards.engines import Adapter, ClusterRegistry
from model_hosting_container_standards.exceptions import AdapterError
from model_hosting_container_standards.logging_config import get_logger
from model_hosting_container_standards.settings import read_settings

from .connection import ActorConnection
from .coordinator import find_coordinator
from .model_adapters import AdapterLimits

logger = get_logger(__name__)

_NO_LORA: Final = (
    "LoRA is not enabled: set enable_lora in the engine_kwargs of a model, and start "
    "it again."
)
#: Runs a request, and returns its outputs.
Run = Callable[[], Awaitable[AsyncGenerator[Any, None]]]


class ReplicaAdapters:
    """The registered adapters, in the engine of a model replica.

    Args:
        app: an app with the state of vLLM's server.
        application: the name of the application in Ray Serve.
    """

    def __init__(self, app: FastAPI, application: str) -> None:
        self._backend = VLLMAdapters(app)
        self._application = application
        self._registry: ClusterRegistry | None = None

    async def start(self) -> None:
        """Join the coordinator, and load the adapters that are pinned."""
        self._backend.prepare()
        if self._backend.unavailable() is not None:
            return
        connection = ActorConnection(find_coordinator(self._application))
        root = read_settings().adapters_root
        registry = ClusterRegistry(self._backend, connection, root)
        await registry.start()
        self._backend.attach(registry)
        for adapter in registry.view().values():
            if adapter.pin and adapter.answers and not adapter.by_handler:
                await self._load_pinned(adapter)
        self._registry = registry

    async def _load_pinned(self, adapter: Adapter) -> None:
        try:
            await self._backend.load(adapter)
            await self._backend.pin(adapter)
        except AdapterError as error:
            logger.error("Adapter %r cannot be pinned: %s", adapter.name, error)

    def limits(self) -> AdapterLimits:
        """Return what the engine can load."""
        if self._backend.unavailable() is not None:
            return AdapterLimits(unavailable=_NO_LORA)
        return AdapterLimits(
            slots=self._backend.slots,
            own_models=[*self._backend.own_models()],
            own_adapters=[*self._backend.own_adapters()],
        )

    async def call(self, method: str, *args: Any, **options: Any) -> Any:
        """Call a method of the engine's backend; return its result or its error."""
        try:
            return await getattr(self._backend, method)(*args, **options)
        except AdapterError as error:
            return error

    def answer(self, model: str | None, run: Run) -> AsyncGenerator[Any, None]:
        """Run a request; its adapter stays loaded until the last output."""
        registry = self._registry
        if registry is None:
            return _outputs(run)
        return self._leased(registry, model, run)

    async def _leased(
        self, registry: ClusterRegistry, model: str | None, run: Run
    ) -> AsyncGenerator[Any, None]:
        request = registry.enter_request()
        try:
            with http_errors():
                if model is not None and model in registry.view():
                    await registry.keep_loaded(model)
                async with aclosing(_outputs(run)) as outputs:
                    async for output in outputs:
                        yield output
        finally:
            request.release()


async def _outputs(run: Run) -> AsyncGenerator[Any, None]:
    async with aclosing(await run()) as outputs:
        async for output in outputs:
            yield output
