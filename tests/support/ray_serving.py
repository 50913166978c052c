"""An application of Ray Serve LLM on the stand-in for Ray, in one process.

Its model replicas have vLLM's client and registry of adapters, without an engine::

    model = Model()
    model.start(), model.start()
    with serving(tiny=model.handle) as client:
        client.post("/invocations", json={"prompt": "hello"})

Ray is imported late: a fixture makes the stand-in importable.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import pytest
from fastapi import HTTPException
from fastapi.testclient import TestClient
from starlette.datastructures import State

from adapter_engine import WEIGHTS

#: Fewer than adapters may be registered.
SLOTS = 2


class LoRARequest(msgspec.Struct):
    lora_name: str
    lora_int_id: int
    lora_path: str = ""


def replace_lora_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace vLLM's module of LoRARequest, which need not be installed."""
    module: Any = ModuleType("vllm.lora.request")
    module.LoRARequest = LoRARequest
    for name in ("vllm", "vllm.lora"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "vllm.lora.request", module)


class Client:
    """The client of an engine."""

    model_config = SimpleNamespace(runner_type="generate")

    def __init__(self, lora_config: Any) -> None:
        self.vllm_config = SimpleNamespace(lora_config=lora_config)
        self.loaded: dict[int, LoRARequest] = {}
        self.pinned: set[int] = set()
        #: Called before an adapter is loaded.
        self.before_load: Callable[[], None] = lambda: None

    async def check_health(self) -> None: ...

    async def is_sleeping(self) -> bool:
        return False

    async def add_lora(self, request: LoRARequest) -> bool:
        self.before_load()
        self.loaded[request.lora_int_id] = request
        return True

    async def remove_lora(self, lora_id: int) -> bool:
        self.pinned.discard(lora_id)
        return self.loaded.pop(lora_id, None) is not None

    async def pin_lora(self, lora_id: int) -> bool:
        assert lora_id in self.loaded
        self.pinned.add(lora_id)
        return True

    async def generate(
        self, prompt: Any, lora_request: LoRARequest | None = None
    ) -> AsyncGenerator[Any, None]:
        """Yield the text of the adapter's weights, which must have been loaded."""
        if lora_request is None:
            yield "base"
            return
        assert lora_request.lora_int_id in self.loaded
        yield (Path(lora_request.lora_path) / WEIGHTS).read_text()

    def names(self) -> list[str]:
        """Return the names of the loaded adapters."""
        return sorted(each.lora_name.partition("#")[0] for each in self.loaded.values())


class Engine:
    """An engine as Ray has it, with the state of vLLM's server."""

    def __init__(self, *, lora: bool = True, model: str = "tiny") -> None:
        config = SimpleNamespace(max_lora_rank=16, max_loras=SLOTS, max_cpu_loras=None)
        self.client = Client(config if lora else None)
        self._models = SimpleNamespace(
            lora_requests={}, base_model_paths=[SimpleNamespace(name=model)]
        )
        self._app_state = State()
        self._app_state.engine_client = self.client
        self._app_state.openai_serving_models = self._models

    async def start(self) -> None: ...

    async def check_health(self) -> None: ...

    async def completions(self, request: Any) -> AsyncGenerator[Any, None]:
        entry = None
        if request.model not in [each.name for each in self._models.base_model_paths]:
            if request.model not in self._models.lora_requests:
                raise HTTPException(404, f"vLLM does not know {request.model}.")
            entry = self._models.lora_requests[request.model]
        async for text in self.client.generate("prompt", lora_request=entry):
            yield {"text": text, "asked": request.model}


class Model:
    """The deployment of a model, with its replicas."""

    def __init__(self, name: str = "tiny", *, lora: bool = True) -> None:
        from ray.serve.handle import DeploymentHandle

        self.name = name
        self.handle: Any = DeploymentHandle(f"SageMakerLLMServer:{name}")
        self.clients: list[Client] = []
        self._lora = lora

    def start(self) -> Any:
        """Start a replica; return its actor."""
        from ray.serve.handle import Actor

        from mhcs.ray import SageMakerLLMServer

        engine = Engine(lora=self._lora, model=self.name)
        server: Any = SageMakerLLMServer()
        server.engine = engine
        actor: Any = Actor(server)
        actor.run(server.start)
        self.handle.add(f"r{len(self.clients)}", actor)
        self.clients.append(engine.client)
        return actor


@contextmanager
def serving(
    *, lora_paths: dict[str, str] | None = None, components: Any = None, **handles: Any
) -> Iterator[TestClient]:
    """Serve an ingress replica over the deployments of models, by their names."""
    from ray import serve
    from ray.serve.handle import DeploymentHandle
    from ray.serve.llm.ingress import ModelCard, start_replica

    from mhcs.ray import SageMakerIngress

    known: dict[str, Any] = serve.deployments
    known.update((handle.deployment_name, handle) for handle in handles.values())
    known.setdefault("SageMakerIngress", DeploymentHandle("SageMakerIngress"))
    ingress = asyncio.run(
        start_replica(
            SageMakerIngress,
            llm_deployments=handles,
            model_cards={name: ModelCard(id=name) for name in handles},
            lora_paths=lora_paths,
            inference_components=components,
        )
    )
    with TestClient(ingress.app) as client:
        yield client


def coordinator() -> Any:
    """Return the coordinator's actor."""
    from ray.actor import actors

    [actor] = actors.values()
    return actor
