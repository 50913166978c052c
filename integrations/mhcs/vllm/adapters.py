"""Adapters of a vLLM server.

What is registered shows up in vLLM's own registry, so that ``/v1`` answers by it as
``/invocations`` does; the engine behind it is told by way of its client.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Collection
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final

from fastapi import FastAPI, HTTPException

from mhcs.addresses import server_name
from mhcs.guard import guarded
from model_hosting_container_standards.adapters.adapter import Adapter
from model_hosting_container_standards.adapters.backend import RegisteredAdapters
from model_hosting_container_standards.adapters.base_model import BaseModel
from model_hosting_container_standards.adapters.files import locate
from model_hosting_container_standards.adapters.store import FIRST_ID
from model_hosting_container_standards.exceptions import (
    AdapterCapacityError,
    AdapterEngineError,
    AdapterError,
)

from .base_model import UNCHECKED, read_base_model
from .errors import errors_of_the_engine
from .leasing import keep_leases, lease_generations
from .model_names import watch_model_names
from .registry import LiveList, LiveRegistry, live_registry, own_names

#: Lets vLLM itself look for adapters whose names it does not know.
RUNTIME_UPDATING: Final = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
_FLAGS: Final = frozenset({"is_3d_lora_weight"})


class VLLMAdapters:
    """The ``AdapterBackend`` of a vLLM app, for every release since 0.8."""

    slots_option: Final = "--max-loras"

    def __init__(self, app: FastAPI) -> None:
        self._state = app.state
        self._registry: LiveRegistry | None = None

    @property
    def server_name(self) -> str:
        args = getattr(self._state, "args", None)
        if socket := getattr(args, "uds", None):
            return f"vllm-{blake2b(socket.encode(), digest_size=8).hexdigest()}"
        host, port = (getattr(args, name, None) for name in ("host", "port"))
        return server_name("vllm", host, port)

    def unavailable(self) -> str | None:
        if not hasattr(self._state, "engine_client"):
            return "This server has no engine that could load adapters."
        if self._lora_config is None:
            return "LoRA is not enabled: start vLLM with --enable-lora."
        return None

    @property
    def max_rank(self) -> int:
        rank: int = self._lora_config.max_lora_rank
        return rank

    def base_model(self) -> BaseModel | None:
        return self._base_model

    @property
    def slots(self) -> int:
        slots: int = self._lora_config.max_loras
        return slots

    @property
    def cache_size(self) -> int:
        kept: int = self._lora_config.max_cpu_loras or self.slots
        return kept

    @property
    def flags(self) -> Collection[str]:
        return _FLAGS & inspect.signature(_request_type()).parameters.keys()

    def prepare(self) -> None:
        watch_model_names(self._state)

    def attach(self, adapters: RegisteredAdapters) -> None:
        self._registry = live_registry(self._models.lora_requests, adapters, _request)
        self._models.lora_requests = self._registry
        for name in ("load_lora_adapter", "unload_lora_adapter"):
            if method := getattr(self._models, name, None):
                setattr(self._models, name, self._sparing(adapters, method))
        for name in ("generate", "encode"):
            if method := getattr(self._client, name, None):
                leased = lease_generations(adapters, method, _request)
                setattr(self._client, name, leased)
        responses = getattr(self._state, "openai_serving_responses", None)
        for name in ("_run_background_request", "_run_background_request_stream"):
            if method := getattr(responses, name, None):
                setattr(responses, name, keep_leases(adapters, method))

    def own_models(self) -> Collection[str]:
        return [model.name for model in self._models.base_model_paths]

    def own_adapters(self) -> Collection[str]:
        if self._registry is not None:
            return self._registry.foreign()
        return own_names(self._models.lora_requests)

    def resolves_natively(self, name: str) -> bool:
        if self.unavailable():
            return True  # vLLM refuses what it does not know.
        if name in self.own_models() or name in self.own_adapters():
            return True
        if not getattr(self._models, "lora_resolvers", ()):
            return False
        return os.environ.get(RUNTIME_UPDATING, "").strip().lower() in ("1", "true")

    async def load(self, adapter: Adapter) -> None:
        request = _request(adapter, adapter.engine_name)
        with errors_of_the_engine(AdapterError):
            await self._client.add_lora(request)

    async def unload(self, adapter: Adapter) -> None:
        if remove := getattr(self._client, "remove_lora", None):
            with errors_of_the_engine(AdapterEngineError):
                await remove(adapter.id)

    async def pin(self, adapter: Adapter) -> None:
        pin = getattr(self._client, "pin_lora", None)
        if pin is None:
            raise AdapterCapacityError("This release of vLLM cannot pin adapters.")
        with errors_of_the_engine(AdapterCapacityError):
            await pin(adapter.id)

    async def unpin(self, adapter: Adapter) -> None:
        """Load it anew: vLLM has no other way.

        In between, a step of the engine that needs the adapter loads it by itself.
        """
        await self.unload(adapter)
        await self.load(adapter)

    def _sparing(
        self, adapters: RegisteredAdapters, method: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Let vLLM's own load and unload routes refuse what is registered with us."""

        @functools.wraps(method)
        async def load_or_unload(request: Any, *args: Any, **kwargs: Any) -> Any:
            registered = adapters.view().get(request.lora_name)
            if registered is not None and not registered.by_handler:
                raise HTTPException(
                    409,
                    f"Adapter {request.lora_name!r} is registered at /adapters: use "
                    "DELETE /adapters/NAME, or POST /adapters with load_inplace.",
                )
            if hasattr(request, "lora_path"):
                _check_root(adapters, request.lora_path)
            try:
                return await method(request, *args, **kwargs)
            finally:
                self._keep_registry()

        return load_or_unload

    def _keep_registry(self) -> None:
        """Put ours back: where the registry is a list, vLLM unloads by a new one."""
        registry, found = self._registry, self._models.lora_requests
        if isinstance(registry, LiveList) and found is not registry:
            registry[:] = [own for own in found if own.lora_int_id < FIRST_ID]
            self._models.lora_requests = registry

    @property
    def _client(self) -> Any:
        return self._state.engine_client

    @property
    def _models(self) -> Any:
        return self._state.openai_serving_models

    @property
    def _lora_config(self) -> Any:
        return self._vllm_config.lora_config

    @property
    def _vllm_config(self) -> Any:
        return getattr(self._client, "vllm_config", None) or self._state.vllm_config

    @cached_property
    def _base_model(self) -> BaseModel | None:
        with guarded("Reading the model's checkpoint", UNCHECKED):
            return read_base_model(self._vllm_config)
        return None


def _request_type() -> Any:
    from vllm.lora.request import LoRARequest

    return LoRARequest


def _request(adapter: Adapter, name: str) -> Any:
    """Return what vLLM calls an adapter by ``name``."""
    return _request_type()(
        lora_name=name,
        lora_int_id=adapter.id,
        lora_path=adapter.path,
        **adapter.options,
    )


def _check_root(adapters: RegisteredAdapters, src: str) -> None:
    """Keep vLLM's own load route to the folder adapters may be loaded from."""
    if adapters.root is not None:
        try:
            locate(src, adapters.root)
        except AdapterError as error:
            raise HTTPException(error.status_code, str(error)) from None
