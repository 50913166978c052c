"""Adapters of a TensorRT-LLM server, which has no calls to load or unload them.

The engine loads an adapter at the first request with its path, and caches it by its
integer id alone: the same id with another path would use the cached weights. Therefore
an id is never reused, and unregistering does not involve the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import wrapt

from mhcs.addresses import server_name
from model_hosting_container_standards.engines import (
    WEIGHTS,
    Adapter,
    AdapterBackend,
    BaseModel,
    Checkpoint,
    RegisteredAdapters,
    read_checkpoint,
)
from model_hosting_container_standards.exceptions import (
    AdapterCrashError,
    AdapterEngineError,
    AdapterError,
)

from .health import (
    cause_of_death,
    generate_token,
    generator_of,
    is_request_error,
)
from .requests import (
    ADAPTERS,
    check_files,
    generate_by_adapter,
    make_lora_request,
    takes_adapters,
)

_FORMATS: Final = WEIGHTS[:2]
#: Server roles without text generation, and thus without adapters.
_ROLES_WITHOUT_ADAPTERS: Final = ("EMBEDDING", "MM_ENCODER", "VISUAL_GEN")
#: Seconds that the engine may take to load an adapter while it serves other requests.
_LOAD_TIMEOUT_S: Final = 45.0
#: Seconds between two checks whether the engine is still alive. Up to 1.2, an adapter
#: that cannot be loaded ends the engine, and requests that wait get no error.
_POLL_S: Final = 0.1


class TensorRTAdapters(AdapterBackend):
    """The ``AdapterBackend`` of a TensorRT-LLM server, for every release since 1.0."""

    def __init__(self, server: Any) -> None:
        self._server = server

    @property
    def server_name(self) -> str:
        # Set when the server starts to listen. All its front ends share the address.
        address = getattr(self._server, "binding_addr", None) or ""
        host, _, port = address.removeprefix("http://").rpartition(":")
        return server_name("tensorrt_llm", host, port)

    def unavailable(self) -> str | None:
        role = getattr(self._server, "server_role", None)
        if (name := getattr(role, "name", role)) in _ROLES_WITHOUT_ADAPTERS:
            return f"This server does not support adapters: its role is {name}."
        if not takes_adapters(self._server):
            return (
                "This server does not support adapters: TensorRT-LLM has them since "
                "1.0, for completions and chat."
            )
        if self._lora_config is None:
            return (
                "LoRA is not enabled: start trtllm-serve with --extra_llm_api_options "
                "FILE, a YAML file that has a lora_config."
            )
        return None

    @property
    def max_rank(self) -> int | None:
        return getattr(self._lora_config, "max_lora_rank", None)

    def base_model(self) -> BaseModel | None:
        return self._base_model

    @cached_property
    def _base_model(self) -> BaseModel | None:
        """The Hugging Face checkpoint; None for a prebuilt TensorRT engine."""
        generator = generator_of(self._server)
        given = getattr(getattr(generator, "args", None), "model", None)
        folder = getattr(generator, "_hf_model_dir", None) or given
        if not isinstance(folder, str | Path):
            return None
        modules = read_checkpoint(Path(folder))
        # TensorRT-LLM matches layers by their numbers and ignores the prefix.
        return None if modules is None else Checkpoint(modules, any_prefix=True)

    @property
    def cache_size(self) -> int | None:
        return getattr(self._lora_config, "max_cpu_loras", None)

    def attach(self, adapters: RegisteredAdapters) -> None:
        setattr(self._server.app.state, ADAPTERS, adapters)
        generator = generator_of(self._server)
        if not isinstance(generator.generate_async, wrapt.FunctionWrapper):
            generate = wrapt.FunctionWrapper(
                generator.generate_async, generate_by_adapter
            )
            generator.generate_async = generate

    def own_models(self) -> Collection[str]:
        return [self._server.model]

    async def load(self, adapter: Adapter) -> None:
        """Generate one token with the adapter, which reports errors in it."""
        _check_format(adapter)
        check_files(adapter)
        if (cause := cause_of_death(self._server)) is not None:
            raise AdapterEngineError(f"TensorRT-LLM's engine is dead: {cause}")
        try:
            await self._generate_token(make_lora_request(adapter))
        except AdapterError:
            raise
        except Exception as error:
            raise self._explain(adapter, error) from error

    async def _generate_token(self, lora_request: Any) -> None:
        promise = generate_token(generator_of(self._server), lora_request)
        result = asyncio.ensure_future(promise.aresult())
        try:
            await self._wait_for(result)
        finally:
            if not result.done():
                result.cancel()
                with contextlib.suppress(Exception):  # raised by a dead engine
                    promise.abort()

    async def _wait_for(self, result: asyncio.Future[Any]) -> None:
        """Wait for the result, until a timeout or until the engine has died.

        Raises:
            TimeoutError: no result arrived in time.
        """
        for _ in range(math.ceil(_LOAD_TIMEOUT_S / _POLL_S)):
            await asyncio.wait({result}, timeout=_POLL_S)
            if result.done():
                result.result()
                return
            if cause_of_death(self._server) is not None:
                break
        raise TimeoutError(f"no response within {_LOAD_TIMEOUT_S:.0f} s.")

    def _explain(self, adapter: Adapter, error: Exception) -> AdapterError:
        """Return an error of the engine, or its death, as one of our errors."""
        # Checked first: the last error of a dying engine may look like the request's.
        if (cause := cause_of_death(self._server)) is not None:
            return AdapterCrashError(
                f"TensorRT-LLM's engine has ended while it loaded adapter "
                f"{adapter.name!r}: {cause}"
            )
        reason = str(error) or repr(error)
        if isinstance(error, ValueError) or is_request_error(error):
            return AdapterError(reason)
        return AdapterEngineError(f"TensorRT-LLM's engine failed: {reason}")

    async def unload(self, adapter: Adapter) -> None:
        """Do nothing: the engine evicts the least recently used adapters itself."""

    @property
    def _lora_config(self) -> Any:
        generator = generator_of(self._server)
        return getattr(getattr(generator, "args", None), "lora_config", None)


def _check_format(adapter: Adapter) -> None:
    if not any(Path(adapter.path, name).is_file() for name in _FORMATS):
        raise AdapterError(
            f"{adapter.path!r}: TensorRT-LLM reads {' or '.join(_FORMATS)}."
        )
