"""Adapters of the engine of one model replica."""

from __future__ import annotations

import asyncio
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
from .coordinator import CoordinatorHandle
from .model_adapters import AdapterLimits

logger = get_logger(__name__)

_NO_LORA: Final = (
    "LoRA is not enabled: set enable_lora in the engine_kwargs of a model, and start "
    "it again."
)
#: Runs a request, and returns its outputs.
Run = Callable[[], Awaitable[AsyncGenerator[Any, None]]]


class ReplicaBackend(VLLMAdapters):
    """The backend of one replica's engine, which knows what this engine has loaded.

    What is registered is loaded into the replicas that run at that time. The engine of
    a later one would load an adapter within a step, where an error ends the engine.
    """

    def __init__(self, app: FastAPI) -> None:
        super().__init__(app)
        self._loaded: set[int] = set()
        self._loading = asyncio.Lock()

    async def load(self, adapter: Adapter) -> None:
        await super().load(adapter)
        self._loaded.add(adapter.id)

    async def unload(self, adapter: Adapter) -> None:
        self._loaded.discard(adapter.id)
        await super().unload(adapter)

    async def load_once(self, adapter: Adapter) -> None:
        """Check and load an adapter, and pin it if it is to be, unless it was loaded.

        Raises:
            AdapterError: it is missing, or cannot be loaded or pinned.
        """
        if adapter.id in self._loaded or adapter.by_handler:
            return
        async with self._loading:
            if adapter.id not in self._loaded:
                await self.check_folder(adapter.path, None)
                await self.load(adapter)
                if adapter.pin:
                    await self.pin(adapter)


class ReplicaAdapters:
    """The registered adapters, in the engine of a model replica.

    Args:
        app: an app with the state of vLLM's server.
        application: the name of the application in Ray Serve.
    """

    def __init__(self, app: FastAPI, application: str) -> None:
        self._backend = ReplicaBackend(app)
        self._application = application
        self._registry: ClusterRegistry | None = None

    async def start(self) -> None:
        """Join the coordinator, and load the adapters that are pinned."""
        self._backend.prepare()
        if self._backend.unavailable() is not None:
            return
        connection = ActorConnection(CoordinatorHandle(self._application))
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
            await self._backend.load_once(adapter)
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
                if model is not None and not self._is_own(model):
                    await self._keep_loaded(registry, model)
                async with aclosing(_outputs(run)) as outputs:
                    async for output in outputs:
                        yield output
        finally:
            request.release()

    def _is_own(self, model: str) -> bool:
        """Return whether the engine has this model, or adapter, without us."""
        return model in (*self._backend.own_models(), *self._backend.own_adapters())

    async def _keep_loaded(self, registry: ClusterRegistry, model: str) -> None:
        # An old copy may not have it yet.
        await registry.wait_valid()
        if model in registry.view():
            await self._backend.load_once(await registry.keep_loaded(model))


async def _outputs(run: Run) -> AsyncGenerator[Any, None]:
    async with aclosing(await run()) as outputs:
        async for output in outputs:
            yield output
