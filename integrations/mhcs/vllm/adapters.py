"""Adapters of a vLLM server.

Registered adapters are visible in vLLM's own registry, so that ``/v1`` routes use them
as ``/invocations`` does. The engine loads and unloads them through its client.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Collection
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final

from fastapi import FastAPI

from mhcs.addresses import server_name
from mhcs.own_routes import hold_leases, refuse_registered
from mhcs.patch_errors import guarded
from model_hosting_container_standards.engines import (
    FIRST_ID,
    Adapter,
    AdapterBackend,
    BaseModel,
    RegisteredAdapters,
)
from model_hosting_container_standards.exceptions import (
    AdapterCapacityError,
    AdapterEngineError,
    AdapterError,
)

from .base_model import UNCHECKED, read_base_model
from .errors import translate_engine_errors
from .leasing import lease_adapters
from .lora_requests import LiveList, LiveRegistry, live_registry, own_names
from .model_names import wrap_model_checks

#: With it, vLLM resolves unknown adapter names itself, by its LoRA resolvers.
RUNTIME_UPDATING: Final = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
#: With it, Ray Serve runs vLLM's app in several replicas.
_DIRECT_STREAMING: Final = "RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING"
_FLAGS: Final = frozenset({"is_3d_lora_weight"})


class VLLMAdapters(AdapterBackend):
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
            return "This server has no engine, so that it cannot load adapters."
        if self._lora_config is None:
            return "LoRA is not enabled: start vLLM with --enable-lora."
        if os.environ.get(_DIRECT_STREAMING) == "1":
            return (
                "With Ray's direct streaming, a call would reach one of the replicas "
                f"only: unset {_DIRECT_STREAMING}, and set ingress_cls to "
                "mhcs.ray:SageMakerIngress."
            )
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
        size: int = self._lora_config.max_cpu_loras or self.slots
        return size

    @property
    def flags(self) -> Collection[str]:
        return _FLAGS & inspect.signature(_request_type()).parameters.keys()

    def prepare(self) -> None:
        wrap_model_checks(self._state)

    def attach(self, adapters: RegisteredAdapters) -> None:
        self._registry = live_registry(self._models.lora_requests, adapters, _request)
        self._models.lora_requests = self._registry
        for name in ("load_lora_adapter", "unload_lora_adapter"):
            if method := getattr(self._models, name, None):
                setattr(self._models, name, self._reject_registered(adapters, method))
        for name in ("generate", "encode"):
            if method := getattr(self._client, name, None):
                leased = lease_adapters(adapters, method, _request)
                setattr(self._client, name, leased)
        responses = getattr(self._state, "openai_serving_responses", None)
        for name in ("_run_background_request", "_run_background_request_stream"):
            if method := getattr(responses, name, None):
                setattr(responses, name, hold_leases(adapters, method))

    def own_models(self) -> Collection[str]:
        return [model.name for model in self._models.base_model_paths]

    def own_adapters(self) -> Collection[str]:
        if self._registry is not None:
            return self._registry.engine_names()
        return own_names(self._models.lora_requests)

    def resolves_natively(self, name: str) -> bool:
        if self.unavailable():
            return True  # vLLM rejects unknown names itself.
        if name in self.own_models() or name in self.own_adapters():
            return True
        if not getattr(self._models, "lora_resolvers", ()):
            return False
        return os.environ.get(RUNTIME_UPDATING, "").strip().lower() in ("1", "true")

    async def load(self, adapter: Adapter) -> None:
        request = _request(adapter, adapter.engine_name)
        with translate_engine_errors(AdapterError):
            await self._client.add_lora(request)

    async def unload(self, adapter: Adapter) -> None:
        if remove := getattr(self._client, "remove_lora", None):
            with translate_engine_errors(AdapterEngineError):
                await remove(adapter.id)

    async def pin(self, adapter: Adapter) -> None:
        pin = getattr(self._client, "pin_lora", None)
        if pin is None:
            raise AdapterCapacityError("This release of vLLM cannot pin adapters.")
        with translate_engine_errors(AdapterCapacityError):
            await pin(adapter.id)

    async def unpin(self, adapter: Adapter) -> None:
        """Unload and reload the adapter: vLLM has no call to unpin one.

        If the engine needs the adapter in between, it loads it by itself.
        """
        await self.unload(adapter)
        await self.load(adapter)

    def _reject_registered(
        self, adapters: RegisteredAdapters, method: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Make vLLM's own load and unload routes reject adapters of ``/adapters``."""

        @functools.wraps(method)
        async def load_or_unload(request: Any, *args: Any, **kwargs: Any) -> Any:
            refuse_registered(adapters, request)
            try:
                return await method(request, *args, **kwargs)
            finally:
                self._restore_registry()

        return load_or_unload

    def _restore_registry(self) -> None:
        """Restore our registry: vLLM replaces a list when it unloads an adapter."""
        registry, current = self._registry, self._models.lora_requests
        if isinstance(registry, LiveList) and current is not registry:
            registry[:] = [own for own in current if own.lora_int_id < FIRST_ID]
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
    """Return the ``LoRARequest`` by which vLLM refers to the adapter as ``name``."""
    return _request_type()(
        lora_name=name,
        lora_int_id=adapter.id,
        lora_path=adapter.path,
        **adapter.options,
    )
