"""Adapters of an SGLang server.

SGLang knows an adapter in two places: the scheduler by an id that SGLang assigns, each
tokenizer worker by its name. Our table has both, so that every worker finds an adapter
that another one has loaded.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

from mhcs.addresses import server_name
from mhcs.own_routes import hold_leases, refuse_registered
from model_hosting_container_standards.engines import (
    Adapter,
    AdapterBackend,
    BaseModel,
    Checkpoint,
    RegisteredAdapters,
    read_checkpoint,
)
from model_hosting_container_standards.exceptions import (
    AdapterCapacityError,
    AdapterEngineError,
    AdapterError,
)

from .arguments import lora_arguments, parallel_arguments, serving_arguments
from .model_field import ModelField
from .references import References, make_reference
from .requests import AdapterRequests

#: Seconds that SGLang may take to unload an adapter that no request uses.
_UNLOAD_S: Final = 20.0
_NO_REASON: Final = "SGLang gives no reason."
#: The model name of SGLang's request classes for bodies without one.
_DEFAULT_MODEL: Final = "default"


class SGLangAdapters(AdapterBackend):
    """The ``AdapterBackend`` of an SGLang server.

    Args:
        app: the app of the server.
        manager: the tokenizer manager of this process, by which requests reach the
            engine.
    """

    slots_option: Final = "--max-loras-per-batch"

    def __init__(self, app: FastAPI, manager: Any) -> None:
        self._app = app
        self._manager = manager
        # Before attach(), which replaces them.
        self._load = manager.load_lora_adapter
        self._unload = manager.unload_lora_adapter
        self._references = References(manager)
        self._adapters: RegisteredAdapters | None = None

    @property
    def server_name(self) -> str:
        arguments = serving_arguments(self._manager)
        return server_name("sglang", arguments.host, arguments.port)

    def unavailable(self) -> str | None:
        if not self._arguments.enable_lora:
            return (
                "LoRA is not enabled: start SGLang with --enable-lora, --max-lora-rank "
                "and --lora-target-modules."
            )
        if (size := parallel_arguments(self._manager).dp_size) != 1:
            return f"SGLang loads adapters with --dp-size 1 only, and it is {size}."
        workers = getattr(serving_arguments(self._manager), "tokenizer_worker_num", 1)
        if workers > 1 and self.cache_size is not None:
            return (
                "--max-loaded-loras with --tokenizer-worker-num: each worker would "
                "evict adapters that others use. Leave one of the two away."
            )
        return None

    @property
    def max_rank(self) -> int | None:
        rank: int | None = self._arguments.max_lora_rank
        return rank

    def base_model(self) -> BaseModel | None:
        return self._base_model

    @cached_property
    def _base_model(self) -> BaseModel | None:
        folder = Path(self._manager.model_path)
        modules = read_checkpoint(folder) if folder.is_dir() else None
        # SGLang finds layers by their numbers, and ignores what is before them.
        return None if modules is None else Checkpoint(modules, any_prefix=True)

    @property
    def slots(self) -> int:
        slots: int = self._arguments.max_loras_per_batch
        return slots

    @property
    def max_pinned(self) -> int:
        # SGLang keeps one slot for all adapters that are not pinned.
        return self.slots - 1

    @property
    def cache_size(self) -> int | None:
        size: int | None = self._arguments.max_loaded_loras
        return size

    def prepare(self) -> None:
        ModelField(self, lambda: self._adapters).check_in(self._app)

    def attach(self, adapters: RegisteredAdapters) -> None:
        self._adapters = adapters
        manager = self._manager
        requests = AdapterRequests(adapters, self._references, manager)
        manager.generate_request = requests.wrap(manager.generate_request)
        manager.load_lora_adapter = _reject_registered(adapters, self._load)
        manager.unload_lora_adapter = _reject_registered(adapters, self._unload_own)
        if from_tensors := getattr(manager, "load_lora_adapter_from_tensors", None):
            manager.load_lora_adapter_from_tensors = _reject_registered(
                adapters, from_tensors
            )
        manager.lora_registry.get_all_adapters = self._visible_adapters
        responses: Any = getattr(self._app.state, "openai_serving_responses", None)
        if run := getattr(responses, "_run_background_request", None):
            responses._run_background_request = hold_leases(adapters, run)

    def own_models(self) -> Collection[str]:
        return [self._manager.served_model_name]

    def own_adapters(self) -> Collection[str]:
        return self._references.own()

    def adapter_of(self, model: str) -> str | None:
        base = self._manager.served_model_name
        if model in self._view():
            return model
        if model in (base, _DEFAULT_MODEL):
            return None
        # SGLang's own form: BASE:ADAPTER.
        return model.removeprefix(f"{base}:").strip() or None

    async def load(self, adapter: Adapter) -> str | None:
        name = adapter.engine_name
        if adapter.loaded and not self._references.is_evicted(name):
            await self._references.add(adapter)
        known = self._references.all().get(name)
        if known is not None and self._references.is_added(name):
            return str(known.lora_id)
        from sglang.srt.managers.io_struct import LoadLoRAAdapterReqInput

        request = LoadLoRAAdapterReqInput(
            lora_name=name, lora_path=adapter.path, pinned=adapter.pin
        )
        with self._references.used(name), self._references.unfiltered():
            result = await self._load(request)
            if not result.success:
                raise AdapterError(result.error_message or _NO_REASON)
            self._references.mark_added(name)
            return str(self._references.all()[name].lora_id)

    async def unload(self, adapter: Adapter) -> None:
        name = adapter.engine_name
        await self._references.add(adapter)
        if name in self._references.all():
            await self._unload_from_engine(name)
        await self._references.remove(name)

    async def _unload_own(self, request: Any, *http_request: Any) -> Any:
        """Unload an adapter that SGLang loaded by itself, and forget its path."""
        result = await self._unload(request, *http_request)
        if result.success:
            await self._references.remove(request.lora_name)
        return result

    async def _unload_from_engine(self, name: str) -> None:
        from sglang.srt.managers.io_struct import UnloadLoRAAdapterReqInput

        unloading = asyncio.ensure_future(
            self._unload(UnloadLoRAAdapterReqInput(lora_name=name))
        )
        lora_id = self._references.all()[name].lora_id
        await asyncio.wait({unloading}, timeout=_UNLOAD_S)
        if not unloading.done():
            # Up to 0.5.21, SGLang waits for ever for some requests that have failed.
            # Once it has asked the scheduler, it must get the answer.
            if self._references.counts_requests(lora_id):
                unloading.cancel()
            raise AdapterEngineError("SGLang takes too long to unload it.")
        result = unloading.result()
        if not result.success:
            raise AdapterError(result.error_message or _NO_REASON)

    async def pin(self, adapter: Adapter) -> None:
        known = self._references.all().get(adapter.engine_name)
        if known is None or not known.pinned:
            raise AdapterCapacityError(
                f"SGLang pins adapters when it loads them: DELETE {adapter.name!r}, "
                'and POST it with "pin": true.'
            )

    async def unpin(self, adapter: Adapter) -> None:
        raise AdapterCapacityError(
            f"SGLang cannot unpin an adapter: DELETE {adapter.name!r}, and POST it "
            'with "pin": false.'
        )

    def _visible_adapters(self) -> Mapping[str, Any]:
        """Return SGLang's own adapters and the registered ones, by their names."""
        if self._references.is_unfiltered:
            return self._references.all()
        registered = {
            name: make_reference(adapter, name, adapter.engine_id or str(adapter.id))
            for name, adapter in self._view().items()
            if adapter.answers
        }
        return {**self._references.own(), **registered}

    def _view(self) -> Mapping[str, Adapter]:
        return {} if self._adapters is None else self._adapters.view()

    @property
    def _arguments(self) -> Any:
        return lora_arguments(self._manager)


def _reject_registered(
    adapters: RegisteredAdapters, method: Callable[..., Any]
) -> Callable[..., Any]:
    """Make SGLang's own load and unload routes reject adapters of ``/adapters``."""

    @functools.wraps(method)
    async def load_or_unload(request: Any, *http_request: Any) -> Any:
        # SGLang calls it without a request to load an evicted adapter again.
        if http_request:
            refuse_registered(adapters, request)
        return await method(request, *http_request)

    return load_or_unload
