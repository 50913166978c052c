"""A stand-in for SGLang's tokenizer manager: adapters, health and shutdown.

:func:`install` puts the modules of SGLang that an integration imports into
``sys.modules``. A :class:`Scheduler` is shared by the managers of several workers. It
is written from facts about SGLang 0.5.9 to 0.5.23; the real ones are tested by
``tests/engines/real_sglang``.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class ServerStatus(Enum):
    Up = "Up"
    Starting = "Starting"
    UnHealthy = "UnHealthy"


@dataclass(frozen=True)
class LoRARef:
    lora_id: str
    lora_name: str
    lora_path: str
    pinned: bool = False


@dataclass
class LoadLoRAAdapterReqInput:
    lora_name: str
    lora_path: str
    pinned: bool = False


@dataclass
class UnloadLoRAAdapterReqInput:
    lora_name: str


@dataclass
class Request:
    """``GenerateReqInput`` and ``EmbeddingReqInput``."""

    rid: str = "1"
    input_ids: Any = None
    sampling_params: Any = None
    log_metrics: bool = True
    lora_path: Any = None
    lora_id: Any = None
    stream: bool = False


@dataclass
class Result:
    success: bool
    error_message: str | None = None


@dataclass
class Scheduler:
    """The adapters of the engine by id, and what it does wrong."""

    loaded: dict[str, LoRARef] = field(default_factory=dict)
    refusal: str = ""
    #: Open while the scheduler answers.
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    questions: int = 0
    ids: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.answers.set()


class Registry:
    """``LoRARegistry``."""

    def __init__(self) -> None:
        self.references: dict[str, LoRARef] = {}

    async def register(self, reference: LoRARef) -> None:
        if reference.lora_name in self.references:
            raise ValueError(f"{reference.lora_name} already exists.")
        self.references[reference.lora_name] = reference

    async def unregister(self, name: str) -> str:
        if name not in self.references:
            raise ValueError(f"{name} does not exist.")
        return self.references.pop(name).lora_id

    def get_all_adapters(self) -> dict[str, LoRARef]:
        return dict(self.references)


class Manager:
    """``TokenizerManager``, or the one of a worker of several."""

    model_path = "no/model"
    served_model_name = "base"
    is_generation = True
    gracefully_exit = False

    def __init__(self, scheduler: Scheduler, **arguments: Any) -> None:
        self.scheduler = scheduler
        self.server_args = SimpleNamespace(
            **{
                "host": "0.0.0.0",
                "port": 8080,
                "enable_lora": True,
                "dp_size": 1,
                "max_lora_rank": 8,
                "max_loras_per_batch": 4,
                "max_loaded_loras": None,
                "max_running_requests": None,
                "tokenizer_worker_num": 1,
                **arguments,
            }
        )
        self.lora_registry = Registry()
        self.lora_ref_cache: dict[str, LoRARef] = {}
        self.rid_to_state: dict[str, object] = {}
        self.server_status = ServerStatus.Up
        self.aborted: list[str] = []
        self.using: Counter[str] = Counter()
        self.never_unloads = False
        self.stopped = False

    async def load_lora_adapter(self, request: Any, _: Any = None) -> Result:
        if self.scheduler.refusal:
            return Result(False, self.scheduler.refusal)
        reference = LoRARef(
            f"id{next(self.scheduler.ids)}",
            request.lora_name,
            request.lora_path,
            request.pinned,
        )
        self.scheduler.loaded[reference.lora_id] = reference
        await self.lora_registry.register(reference)
        self.lora_ref_cache[request.lora_name] = reference
        most = self.server_args.max_loaded_loras
        if most is not None and len(self.lora_registry.references) > most:
            await self.evict(next(iter(self.lora_registry.references)))
        return Result(True)

    async def evict(self, name: str) -> None:
        lora_id = await self.lora_registry.unregister(name)
        del self.scheduler.loaded[lora_id]

    async def unload_lora_adapter(self, request: Any, _: Any = None) -> Result:
        if self.never_unloads:
            await asyncio.Event().wait()
        if self.scheduler.refusal:
            return Result(False, self.scheduler.refusal)
        await self.evict(request.lora_name)
        return Result(True)

    async def generate_request(
        self, request: Any, _: Any = None
    ) -> AsyncGenerator[Any, None]:
        """Yield the paths of the adapters twice; reload what was evicted."""
        if isinstance(request.sampling_params, ValueError):
            raise request.sampling_params
        names = request.lora_path
        single = names is None or isinstance(names, str)
        paths = [await self._path(name) for name in ([names] if single else names)]
        for _ in range(2):
            yield paths[0] if single else paths

    async def _path(self, name: str | None) -> str | None:
        if name is None:
            return None
        if name not in self.lora_registry.references:
            known = self.lora_ref_cache.get(name)
            if known is None:
                raise ValueError(f"{name} has never been loaded")
            await self.load_lora_adapter(
                LoadLoRAAdapterReqInput(name, known.lora_path, known.pinned)
            )
        lora_id = self.lora_registry.references[name].lora_id
        return self.scheduler.loaded[lora_id].lora_path

    async def get_internal_state(self) -> list[Any]:
        self.scheduler.questions += 1
        await self.scheduler.answers.wait()
        return [{}]

    def abort_request(self, rid: str) -> None:
        self.aborted.append(rid)

    async def sigterm_watchdog(self) -> None:
        self.stopped = True


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the modules importable, for one test."""
    names: dict[str, dict[str, Any]] = {
        "sglang": {},
        "sglang.srt": {},
        "sglang.srt.managers": {},
        "sglang.srt.lora": {},
        "sglang.srt.managers.io_struct": {
            "LoadLoRAAdapterReqInput": LoadLoRAAdapterReqInput,
            "UnloadLoRAAdapterReqInput": UnloadLoRAAdapterReqInput,
            "GenerateReqInput": Request,
            "EmbeddingReqInput": Request,
        },
        "sglang.srt.lora.lora_registry": {"LoRARef": LoRARef},
    }
    for name, content in names.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
