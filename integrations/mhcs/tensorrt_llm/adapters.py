"""Adapters of a TensorRT-LLM server, which itself can neither load nor unload any.

It reads an adapter when the first request brings its path, and keeps it by its number
alone: a number that came again with another path would answer from the old weights. So
a number names one registration for ever, and what is unregistered is only forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from model_hosting_container_standards.exceptions import (
    AdapterCapacityError,
    AdapterEngineError,
    AdapterError,
)
from model_hosting_container_standards.sagemaker.lora.adapter import Adapter
from model_hosting_container_standards.sagemaker.lora.adapters import Adapters
from model_hosting_container_standards.sagemaker.lora.weights import WEIGHTS

from .health import generate_token, generator_of
from .requests import ADAPTERS, make_lora_request, takes_adapters

#: What the engine raises when a request is at fault; anything else is its own fault.
_OF_THE_REQUEST: Final = frozenset({"RequestError", "ValueError"})
_FORMATS: Final = WEIGHTS[:2]
#: Up to 1.2 the engine ends with an adapter that it cannot load, and tells nobody.
_PATIENCE_S: Final = 45.0


class TensorRTAdapters:
    """The ``AdapterBackend`` of a TensorRT-LLM server, for every release since 1.0."""

    slots: Final[int] = 0
    flags: Final[Collection[str]] = ()

    def __init__(self, server: Any) -> None:
        self._server = server

    @property
    def server_name(self) -> str:
        # Known since the server was told where to listen. All its front ends share it.
        _, _, port = (getattr(self._server, "binding_addr", None) or "").rpartition(":")
        return f"tensorrt_llm-{port}" if port else "tensorrt_llm"

    def unavailable(self) -> str | None:
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

    @property
    def kept(self) -> int | None:
        return getattr(self._lora_config, "max_cpu_loras", None)

    def prepare(self) -> None:
        """Do nothing: the engine takes any name for that of its model."""

    def attach(self, adapters: Adapters) -> None:
        setattr(self._server.app.state, ADAPTERS, adapters)

    def own_models(self) -> Collection[str]:
        return [self._server.model]

    def own_adapters(self) -> Collection[str]:
        return ()

    def finds(self, name: str) -> bool:
        return name in self.own_models()

    async def load(self, adapter: Adapter) -> None:
        """Have one token generated: what is wrong with an adapter is known then."""
        _check_format(adapter)
        with _errors_of_the_engine():
            request = make_lora_request(adapter)
            promise = generate_token(generator_of(self._server), request)
            try:
                await asyncio.wait_for(promise.aresult(), _PATIENCE_S)
            except asyncio.TimeoutError:
                promise.abort()
                raise

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


@contextlib.contextmanager
def _errors_of_the_engine() -> Iterator[None]:
    """Raise what the engine reports as one of our errors."""
    try:
        yield
    except AdapterError:
        raise
    except asyncio.TimeoutError as error:
        raise AdapterEngineError(
            f"TensorRT-LLM did not answer for {_PATIENCE_S:.0f} s: it has too much to "
            "do, or it has ended."
        ) from error
    except Exception as error:
        reason = str(error) or repr(error)
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if kinds & _OF_THE_REQUEST:
            raise AdapterError(reason) from error
        raise AdapterEngineError(f"TensorRT-LLM's engine failed: {reason}") from error
