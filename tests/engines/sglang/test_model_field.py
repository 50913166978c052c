"""A customer's handler calls SGLang's objects, with any model in the request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException

from adapter_engine import write_adapter
from mhcs.sglang.adapters import SGLangAdapters
from model_hosting_container_standards.adapters.adapter import AdapterSpec
from model_hosting_container_standards.adapters.local_registry import LocalRegistry
from model_hosting_container_standards.adapters.request_leases import (
    CURRENT,
    RequestLeases,
)
from model_hosting_container_standards.adapters.unknown_model import UnknownModels
from sglang_manager import LoadLoRAAdapterReqInput, Manager, Request, Scheduler, install

BASE = Manager.served_model_name


@dataclass
class Completion:
    model: str
    lora_path: Any = None


@dataclass
class Score:
    """A request without a field for an adapter."""

    model: str


class Serving:
    """``OpenAIServingCompletion`` or ``OpenAIServingScore``."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager

    async def handle_request(self, request: Any, raw_request: Any) -> Any:
        del raw_request
        base, _, adapter = getattr(request, "model", "").partition(":")
        assert not adapter or base == BASE
        path = adapter or getattr(request, "lora_path", None)
        outputs = self.manager.generate_request(Request(lora_path=path))
        return [output async for output in outputs][-1]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    install(monkeypatch)
    app = FastAPI()
    manager = Manager(Scheduler())
    app.state.manager = manager
    app.state.openai_serving_completion = Serving(manager)
    app.state.openai_serving_score = Serving(manager)
    return app


@pytest.fixture
async def registry(app: FastAPI, tmp_path: Path) -> AsyncIterator[LocalRegistry]:
    backend = SGLangAdapters(app, app.state.manager)
    registry = LocalRegistry(backend, tmp_path, None)
    backend.prepare()
    backend.attach(registry)
    for name in ("fr", "a:b"):
        source = write_adapter(tmp_path / name, name)
        await registry.register(AdapterSpec(name, source))
    own = LoadLoRAAdapterReqInput("own", "/own")
    await app.state.manager.load_lora_adapter(own, "HTTP")
    yield registry
    await registry.close()


async def complete(app: FastAPI, model: str) -> Any:
    """Return the folder of the adapter that answers; None: the base model does."""
    serving = app.state.openai_serving_completion
    return await serving.handle_request(Completion(model), None)


@pytest.mark.parametrize("model", ["fr", f"{BASE}:fr", "a:b", "own"])
async def test_model_names_an_adapter(
    app: FastAPI, registry: LocalRegistry, tmp_path: Path, model: str
) -> None:
    expected = "/own" if model == "own" else str(tmp_path / model.removeprefix("base:"))
    assert await complete(app, model) == expected
    # The next call has a model of its own.
    assert await complete(app, BASE) is None


async def test_requests_without_a_model_pass(app: FastAPI) -> None:
    SGLangAdapters(app, app.state.manager).prepare()
    serving = app.state.openai_serving_score
    assert await serving.handle_request(SimpleNamespace(query="x"), None) is None


@pytest.mark.parametrize("model", ["", BASE, "default"])
async def test_base_model_answers_by_its_names(
    app: FastAPI, registry: LocalRegistry, model: str
) -> None:
    assert await complete(app, model) is None


async def test_unknown_model_is_a_404_that_lists_models(
    app: FastAPI, registry: LocalRegistry
) -> None:
    with pytest.raises(HTTPException) as raised:
        await complete(app, "no-such")
    assert raised.value.status_code == 404
    for name in ("'no-such'", BASE, "fr", "own"):
        assert name in raised.value.detail
    with UnknownModels().allowed():
        assert await complete(app, "no-such") is None


async def test_unknown_model_is_a_404_without_adapters(app: FastAPI) -> None:
    SGLangAdapters(app, app.state.manager).prepare()
    with pytest.raises(HTTPException, match="no-such"):
        await complete(app, "no-such")
    assert await complete(app, BASE) is None


async def test_model_of_the_http_request_has_precedence(
    app: FastAPI, registry: LocalRegistry, tmp_path: Path
) -> None:
    serving = app.state.openai_serving_score
    leases = RequestLeases(registry.leases)
    token = CURRENT.set(leases)
    try:
        assert await serving.handle_request(Score("fr"), None) == str(tmp_path / "fr")
        assert await complete(app, "own") == str(tmp_path / "fr")
    finally:
        CURRENT.reset(token)
        leases.release()


async def test_adapter_that_cannot_be_loaded_is_its_error(
    app: FastAPI, registry: LocalRegistry, tmp_path: Path
) -> None:
    late = write_adapter(tmp_path / "late", "late")
    await registry.register(AdapterSpec("late", late, preload=False))
    app.state.manager.scheduler.refusal = "no room"
    with pytest.raises(HTTPException, match="no room") as raised:
        await app.state.openai_serving_score.handle_request(Score("late"), None)
    assert raised.value.status_code == 400
