"""Adapters of a TensorRT-LLM server, which itself can neither load nor unload any.

It reads an adapter when the first request brings its path, and keeps it by its number
alone: a number that came again with another path would answer from the old weights. So
a number names one registration for ever, and what is unregistered is only forgotten.
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
from model_hosting_container_standards.adapters.adapter import Adapter
from model_hosting_container_standards.adapters.backend import RegisteredAdapters
from model_hosting_container_standards.adapters.base_model import BaseModel, Checkpoint
from model_hosting_container_standards.adapters.checkpoint import read_checkpoint
from model_hosting_container_standards.adapters.weights import WEIGHTS
from model_hosting_container_standards.exceptions import (
    AdapterCapacityError,
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
#: Servers that have no model for text, whatever their class could do with one.
_ROLES_WITHOUT: Final = ("EMBEDDING", "MM_ENCODER", "VISUAL_GEN")
#: How long the engine may take to load an adapter, with all else it has to do.
_PATIENCE_S: Final = 45.0
#: Up to 1.2 the engine ends with an adapter that it cannot load, and tells nobody who
#: waits: so often it is looked at.
_LOOK_S: Final = 0.1


class TensorRTAdapters:
    """The ``AdapterBackend`` of a TensorRT-LLM server, for every release since 1.0."""

    slots: Final[int] = 0
    slots_option: Final[str | None] = None
    flags: Final[Collection[str]] = ()

    def __init__(self, server: Any) -> None:
        self._server = server

    @property
    def server_name(self) -> str:
        # Known since the server was told where to listen. All its front ends share it.
        address = getattr(self._server, "binding_addr", None) or ""
        host, _, port = address.removeprefix("http://").rpartition(":")
        return server_name("tensorrt_llm", host, port)

    def unavailable(self) -> str | None:
        role = getattr(self._server, "server_role", None)
        if (name := getattr(role, "name", role)) in _ROLES_WITHOUT:
            return f"This server takes no adapters: its role is {name}."
        if not takes_adapters(self._server):
            return (
                "This server takes no adapters: TensorRT-LLM has them since 1.0, for "
                "completions and chat."
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
        """The Hugging Face checkpoint; an engine that was built has no such thing."""
        generator = generator_of(self._server)
        given = getattr(getattr(generator, "args", None), "model", None)
        folder = getattr(generator, "_hf_model_dir", None) or given
        if not isinstance(folder, str | Path):
            return None
        modules = read_checkpoint(Path(folder))
        # It looks for layers by their numbers, whatever is before them.
        return None if modules is None else Checkpoint(modules, any_prefix=True)

    @property
    def cache_size(self) -> int | None:
        return getattr(self._lora_config, "max_cpu_loras", None)

    def prepare(self) -> None:
        """Do nothing: the engine takes any name for that of its model."""

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

    def own_adapters(self) -> Collection[str]:
        return ()

    def resolves_natively(self, name: str) -> bool:
        return name in self.own_models()

    async def load(self, adapter: Adapter) -> None:
        """Have one token generated: what is wrong with an adapter is known then."""
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
        answering = asyncio.ensure_future(promise.aresult())
        try:
            await self._wait_for(answering)
        finally:
            if not answering.done():
                answering.cancel()
                with contextlib.suppress(Exception):  # of an engine that is gone
                    promise.abort()

    async def _wait_for(self, answering: asyncio.Future[Any]) -> None:
        """Wait for an answer, but neither for ever nor of an engine that has died.

        Raises:
            TimeoutError: there is none.
        """
        for _ in range(math.ceil(_PATIENCE_S / _LOOK_S)):
            await asyncio.wait({answering}, timeout=_LOOK_S)
            if answering.done():
                answering.result()
                return
            if cause_of_death(self._server) is not None:
                break
        raise TimeoutError(f"it has not answered for {_PATIENCE_S:.0f} s.")

    def _explain(self, adapter: Adapter, error: Exception) -> AdapterError:
        """Return what the engine reports, or cannot any more, as one of our errors."""
        # Whatever it says at its end, no request is at fault for it.
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
        """Do nothing: the engine drops what has not been used for longest."""

    async def pin(self, adapter: Adapter) -> None:
        raise AdapterCapacityError(f"{adapter.name!r}: TensorRT-LLM has no pins.")

    async def unpin(self, adapter: Adapter) -> None:
        """Do nothing: none is pinned."""

    @property
    def _lora_config(self) -> Any:
        generator = generator_of(self._server)
        return getattr(getattr(generator, "args", None), "lora_config", None)


def _check_format(adapter: Adapter) -> None:
    if not any(Path(adapter.path, name).is_file() for name in _FORMATS):
        raise AdapterError(
            f"{adapter.path!r}: TensorRT-LLM reads {' or '.join(_FORMATS)}."
        )
