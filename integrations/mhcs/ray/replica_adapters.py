"""Adapters of the engine of one model replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
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
        self._pinned: set[int] = set()
        self._loading = asyncio.Lock()

    async def load(self, adapter: Adapter) -> None:
        await super().load(adapter)
        self._loaded.add(adapter.id)

    async def unload(self, adapter: Adapter) -> None:
        self._loaded.discard(adapter.id)
        self._pinned.discard(adapter.id)
        await super().unload(adapter)

    async def pin(self, adapter: Adapter) -> None:
        await super().pin(adapter)
        self._pinned.add(adapter.id)

    async def unpin(self, adapter: Adapter) -> None:
        if self.is_pinned(adapter):
            await super().unpin(adapter)

    def is_pinned(self, adapter: Adapter) -> bool:
        return adapter.id in self._pinned

    async def follow(self, adapter: Adapter) -> None:
        """Check and load an adapter, and pin or unpin it, unless that was done.

        Raises:
            AdapterError: it is missing, or cannot be loaded or pinned.
        """
        is_loaded = adapter.id in self._loaded
        if adapter.by_handler or (is_loaded and self.is_pinned(adapter) == adapter.pin):
            return
        async with self._loading:
            if adapter.id not in self._loaded:
                await self.check_folder(adapter.path, None)
                await self.load(adapter)
            if not adapter.pin:
                await self.unpin(adapter)
            elif not self.is_pinned(adapter):
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
        self._pinning: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Join the coordinator, and load the adapters that are pinned."""
        self._backend.prepare()
        if self._backend.unavailable() is not None:
            return
        connection = ActorConnection(CoordinatorHandle(self._application))
        root = read_settings().adapters_root
        registry = ClusterRegistry(
            self._backend, connection, root, on_change=self._pin_soon
        )
        await registry.start()
        self._backend.attach(registry)
        self._registry = registry
        for adapter in registry.view().values():
            if self._is_to_be_pinned(adapter):
                await self._pin_or_unpin(registry, adapter.name)

    def _pin_soon(self, changed: Sequence[Adapter]) -> None:
        """Pin and unpin what Serve's list of replicas was too old for."""
        for adapter in changed:
            is_pinned = self._backend.is_pinned(adapter)
            if self._registry and is_pinned != self._is_to_be_pinned(adapter):
                work = self._pin_or_unpin(self._registry, adapter.name)
                task = asyncio.ensure_future(work)
                self._pinning.add(task)
                task.add_done_callback(self._pinning.discard)

    @staticmethod
    def _is_to_be_pinned(adapter: Adapter) -> bool:
        # Not before it is loaded: one that ends its engine must not end them all.
        return (
            adapter.pin
            and adapter.loaded
            and adapter.answers
            and not adapter.by_handler
        )

    async def _pin_or_unpin(self, registry: ClusterRegistry, name: str) -> None:
        try:
            # Leased, so that it is unloaded again if it is unregistered meanwhile.
            adapter = registry.lease(name)
            try:
                await self._backend.follow(adapter)
            finally:
                registry.release(adapter)
        except AdapterError as error:
            logger.error("Adapter %r cannot be pinned or unpinned: %s", name, error)

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
            await self._backend.follow(await registry.keep_loaded(model))


async def _outputs(run: Run) -> AsyncGenerator[Any, None]:
    async with aclosing(await run()) as outputs:
        async for output in outputs:
            yield output
