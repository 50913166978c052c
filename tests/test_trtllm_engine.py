"""TensorRT-LLM's engine object, on servers of the shapes that releases have."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from pydantic import BaseModel

from adapter_engine import AdapterEngine, write_adapter
from leased import within_request
from mhcs.tensorrt_llm import adapters as adapters_module
from mhcs.tensorrt_llm import engine, hooks
from mhcs.tensorrt_llm.adapters import TensorRTAdapters
from mhcs.tensorrt_llm.requests import answer_by_adapter, answering_methods
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.exceptions import (
    AdapterEngineError,
    StorageError,
)
from model_hosting_container_standards.sagemaker.lora.adapter import Adapter, Wanted
from model_hosting_container_standards.sagemaker.lora.adapters import Adapters

ADAPTER = Adapter(
    id=1 << 20,
    name="cats",
    src="/cats",
    path="/cats",
    engine_name="cats",
    preload=True,
    pin=False,
    state="ready",
    loaded=False,
    by_handler=False,
    reason=None,
    options={},
)


class Server:
    """What answers the engine's routes."""

    __module__ = "tensorrt_llm.serve.openai_server"
    model = "standin"

    def __init__(self, *paths: str, generator: Any = None, **attributes: Any) -> None:
        self.generator = generator
        vars(self).update(attributes)
        self.app = FastAPI()
        self.app.state.openai_server = self
        for path in paths:
            self.app.add_api_route(path, self.answer, methods=["POST"])

    async def answer(self, request: Request) -> dict[str, str]:
        return {"path": request.url.path}


def client_of(server: Server) -> TestClient:
    return TestClient(sagemaker.bootstrap(server.app))


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"messages": []}, "/v1/chat/completions"),
        ({"prompt": ""}, "/v1/completions"),
        ({"input": ""}, "/v1/responses"),
    ],
)
def test_the_body_chooses_the_route(body: dict[str, Any], path: str) -> None:
    server = Server("/v1/chat/completions", "/v1/completions", "/v1/responses")
    with client_of(server) as client:
        assert client.post("/invocations", json=body).json() == {"path": path}


def test_a_server_that_embeds_embeds() -> None:
    with client_of(Server("/v1/embeddings")) as client:
        answer = client.post("/invocations", json={"input": "hello"})
        assert answer.json() == {"path": "/v1/embeddings"}
        answer = client.post("/invocations", json={"prompt": "hello"})
        assert answer.status_code == 400
        assert "'input'" in answer.text


def test_an_app_of_somebody_else_is_not_its_own() -> None:
    assert not engine.owns(FastAPI())
    assert engine.owns(Server("/v1/completions").app)


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ({}, "tensorrt_llm"),
        ({"binding_addr": None}, "tensorrt_llm"),
        ({"binding_addr": "http://0.0.0.0:8080"}, "tensorrt_llm-8080"),
        ({"binding_addr": "http://::1:8080"}, "tensorrt_llm-8080"),
    ],
)
def test_front_ends_of_a_port_share_their_state(
    attributes: dict[str, Any], name: str
) -> None:
    server = Server("/v1/completions", **attributes)
    assert TensorRTAdapters(server).server_name == name


# --- the engine that loads adapters ------------------------------------------------


class Promise:
    """An answer that comes, fails, or never comes."""

    def __init__(self, error: Exception | None, comes: bool = True) -> None:
        self.error = error
        self.comes = comes
        self.is_aborted = False

    async def aresult(self) -> None:
        if not self.comes:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error

    def abort(self) -> None:
        self.is_aborted = True


@pytest.fixture
def tensorrt_llm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that the engine's package has."""
    package: Any = ModuleType("tensorrt_llm")
    package.SamplingParams = SimpleNamespace
    request: Any = ModuleType("tensorrt_llm.executor.request")
    request.LoRARequest = SimpleNamespace
    for module in (package, ModuleType("tensorrt_llm.executor"), request):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def backend_of(promise: Promise) -> TensorRTAdapters:
    generator = SimpleNamespace(generate_async=lambda **_: promise)
    server = Server("/v1/completions", generator=generator)
    return TensorRTAdapters(server)


@pytest.fixture
def cats(tmp_path: Path) -> Adapter:
    src = write_adapter(tmp_path / "cats")
    return msgspec.structs.replace(ADAPTER, src=src, path=src)


async def test_an_answer_that_never_comes_is_given_up(
    tensorrt_llm: None, monkeypatch: pytest.MonkeyPatch, cats: Adapter
) -> None:
    monkeypatch.setattr(adapters_module, "_PATIENCE_S", 0.01)
    promise = Promise(None, comes=False)
    with pytest.raises(AdapterEngineError, match="did not answer for 0 s"):
        await backend_of(promise).load(cats)
    assert promise.is_aborted


async def test_a_dead_engine_says_nothing_of_the_adapter(
    tensorrt_llm: None, cats: Adapter
) -> None:
    class CppExecutorError(Exception):
        """As the engine's own is called."""

    with pytest.raises(AdapterEngineError, match="engine failed: gone"):
        await backend_of(Promise(CppExecutorError("gone"))).load(cats)


# --- releases that nobody has seen -------------------------------------------------


def test_a_module_without_the_server_is_one_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hooks._patch_server(ModuleType(hooks.SERVER_MODULE))
    [record] = caplog.records
    assert "has no OpenAIServer" in record.getMessage()
    assert "update model-hosting-container-standards" in record.getMessage()


def test_a_server_without_an_app_is_one_error(caplog: pytest.LogCaptureFixture) -> None:
    class OpenAIServer:
        """Keeps its app elsewhere."""

    module: Any = ModuleType(hooks.SERVER_MODULE)
    module.OpenAIServer = OpenAIServer
    hooks._patch_server(module)
    hooks._patch_server(module)  # A second time changes nothing.
    module.OpenAIServer()
    [record] = caplog.records
    assert "The server has no app" in record.getMessage()


class WithAdapters(BaseModel):
    model: str
    lora_request: dict[str, Any] | None = None


def test_a_method_by_another_name_is_found() -> None:
    class Future(Server):
        async def some_other_name(self, request: WithAdapters) -> None: ...

    reason = TensorRTAdapters(Future()).unavailable()
    assert reason is not None
    assert "lora_config" in reason


def test_annotations_for_type_checkers_only_do_no_harm() -> None:
    class Future(Server):
        async def first(self, request: Unknown) -> None: ...  # type: ignore[name-defined] # noqa: F821
        async def second(self, request: WithAdapters) -> None: ...

    reason = TensorRTAdapters(Future()).unavailable()
    assert reason is not None
    assert "lora_config" in reason


def test_what_no_route_calls_is_left_alone() -> None:
    class Future(Server):
        async def _create_response(self, promise: str) -> WithAdapters:
            return WithAdapters(model=promise)

        async def _parse(self, raw_request: str) -> WithAdapters:
            return WithAdapters(model=raw_request)

        async def _run(self, request: WithAdapters) -> int:
            return len(request.model)

        async def get_card(self, name: str) -> WithAdapters:
            return WithAdapters(model=name)

    assert [*answering_methods(Future)] == []


async def test_what_names_no_model_is_passed_on() -> None:
    async def answer(*given: Any) -> Any:
        return given

    assert await answer_by_adapter(answer, Server(), ("some", 1), {}) == ("some", 1)


def test_a_release_without_a_disaggregated_server_is_not_broken() -> None:
    hooks._report_disaggregated(ModuleType("tensorrt_llm.serve.openai_disagg_server"))


# --- requests that name an adapter -------------------------------------------------


class Unreadable:
    """Adapters whose table cannot be read."""

    def find(self, name: str) -> Adapter | None:
        raise StorageError("The disk is full.")


def asked(server: Server, request: WithAdapters) -> Any:
    async def answer(*given: Any) -> Any:
        return request.lora_request

    return answer_by_adapter(answer, server, (request,), {})


async def test_an_adapter_that_left_while_the_body_came_answers_still(
    tensorrt_llm: None, cats: Adapter, tmp_path: Path
) -> None:
    server = Server()
    backend = AdapterEngine(tmp_path / "engine")
    adapters = Adapters(backend, tmp_path, None)
    server.app.state.sagemaker_adapters = adapters
    await adapters.register(Wanted("cats", cats.path))

    async def answer() -> asyncio.Task[None]:
        found = adapters.find("cats")
        leaving = asyncio.create_task(adapters.unregister("cats"))
        while "cats" in adapters.view():  # noqa: ASYNC110
            await asyncio.sleep(0)
        brought = await asked(server, WithAdapters(model="cats"))
        assert found is not None
        assert (brought.lora_int_id, brought.lora_path) == (found.id, cats.path)
        assert backend.texts
        return leaving

    await (await within_request(adapters, answer))
    assert await asked(server, WithAdapters(model="cats")) is None
    await adapters.close()


async def test_a_table_that_cannot_be_read_is_a_507(tensorrt_llm: None) -> None:
    server = Server()
    server.app.state.sagemaker_adapters = Unreadable()
    answer = await asked(server, WithAdapters(model="cats"))
    assert answer.status_code == 507
    assert b"The disk is full." in answer.body


def test_a_server_of_a_derived_class_has_the_routes() -> None:
    class Derived(Server):
        """Somebody's own."""

    with client_of(Derived("/v1/completions")) as client:
        answer = client.post("/invocations", json={"prompt": "hello"})
        assert answer.json() == {"path": "/v1/completions"}
