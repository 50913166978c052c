"""The engine object of TensorRT-LLM, with stand-ins for its server."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel

from adapter_engine import AdapterEngine, write_adapter
from mhcs.tensorrt_llm import adapters as adapters_module
from mhcs.tensorrt_llm import engine, hooks
from mhcs.tensorrt_llm.adapters import TensorRTAdapters
from mhcs.tensorrt_llm.requests import (
    answer_by_adapter,
    answering_methods,
    generate_by_adapter,
)
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.adapters.adapter import Adapter, AdapterSpec
from model_hosting_container_standards.adapters.base_model import Widths
from model_hosting_container_standards.adapters.local_registry import LocalRegistry
from model_hosting_container_standards.app.bootstrap import is_bootstrapped
from model_hosting_container_standards.exceptions import (
    AdapterCrashError,
    AdapterEngineError,
    AdapterError,
    HandlerFileNotFoundError,
    StorageError,
)
from request_scope import within_request
from safetensors_files import save, zeros
from servers import polling

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
    """A stand-in for ``OpenAIServer``, which answers the engine's routes."""

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
def test_body_selects_route(body: dict[str, Any], path: str) -> None:
    server = Server("/v1/chat/completions", "/v1/completions", "/v1/responses")
    with client_of(server) as client:
        assert client.post("/invocations", json=body).json() == {"path": path}


def test_embedding_server_embeds() -> None:
    with client_of(Server("/v1/embeddings")) as client:
        answer = client.post("/invocations", json={"input": "hello"})
        assert answer.json() == {"path": "/v1/embeddings"}
        answer = client.post("/invocations", json={"prompt": "hello"})
        assert answer.status_code == 400
        assert "'input'" in answer.text


class GenerateRequest(BaseModel):
    model: str


class MemoryRequest(BaseModel):
    tags: list[str]


class Routes:
    async def run(self, request: GenerateRequest, raw_request: Request) -> None: ...
    async def tokenize(self, request: GenerateRequest) -> None: ...
    async def release_memory(self, request: MemoryRequest) -> None: ...
    async def video(self, raw_request: Request) -> None: ...
    async def list_videos(self) -> None: ...


def test_only_inference_routes_can_be_selected() -> None:
    server, routes = Server(), Routes()
    endpoints: dict[str, Any] = {
        "/v1/completions": routes.run,
        "/v1/rerank": routes.run,
        "/_internal/tokenize": routes.tokenize,
        "/release_memory": routes.release_memory,
        "/v1/videos/generations": routes.video,
        "/kv_cache_events": routes.video,
    }
    for path, endpoint in endpoints.items():
        server.app.add_api_route(path, endpoint, methods=["POST"])
    server.app.add_api_route("/v1/videos", routes.list_videos, methods=["GET"])
    chosen = {"/v1/completions", "/v1/rerank", "/v1/videos/generations"}
    assert engine.inference_paths(server.app) == chosen


def test_other_apps_are_not_owned() -> None:
    assert not engine.owns(FastAPI())
    assert engine.owns(Server("/v1/completions").app)


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ({}, "tensorrt_llm"),
        ({"binding_addr": None}, "tensorrt_llm"),
        ({"binding_addr": "http://0.0.0.0:8080"}, "tensorrt_llm-8080"),
        ({"binding_addr": "http://:::8080"}, "tensorrt_llm-8080"),
        ({"binding_addr": "http://::1:8080"}, "tensorrt_llm-::1-8080"),
        ({"binding_addr": "http://127.0.0.2:8080"}, "tensorrt_llm-127.0.0.2-8080"),
    ],
)
def test_front_ends_of_one_address_share_state(
    attributes: dict[str, Any], name: str
) -> None:
    server = Server("/v1/completions", **attributes)
    assert TensorRTAdapters(server).server_name == name


# --- the engine that loads adapters ------------------------------------------------


def generator_of(model: object, hf_model_dir: Path | None = None) -> Any:
    args = SimpleNamespace(model=model)
    return SimpleNamespace(args=args, _hf_model_dir=hf_model_dir)


@pytest.mark.parametrize("from_hub", [True, False])
def test_adapters_must_fit_checkpoint(tmp_path: Path, from_hub: bool) -> None:
    weights = {"model.layers.0.self_attn.q_proj.weight": zeros(64, 128)}
    save(tmp_path / "model.safetensors", weights)
    given = ("org/m", tmp_path) if from_hub else (str(tmp_path), None)
    model = TensorRTAdapters(Server(generator=generator_of(*given))).base_model()
    assert model is not None
    # Layers are found by their numbers, with any prefix.
    name = "model.language_model.layers.0.self_attn.q_proj"
    assert model.find(name) == Widths(128, 64)
    assert model.find("model.layers.1.self_attn.q_proj") is None


@pytest.mark.parametrize("model", [None, "org/m", "/nowhere"])
def test_other_models_are_unknown(model: str | None) -> None:
    assert TensorRTAdapters(Server(generator=generator_of(model))).base_model() is None
    assert TensorRTAdapters(Server(generator=SimpleNamespace())).base_model() is None


class RequestError(Exception):
    """Has the name of the engine's own class."""


class Promise:
    """A pending response that arrives, fails, or never arrives."""

    def __init__(self, error: Exception | None, arrives: bool = True) -> None:
        self.error = error
        self.arrives = arrives
        self.is_aborted = False

    async def aresult(self) -> None:
        if not self.arrives:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error

    def abort(self) -> None:
        self.is_aborted = True


@pytest.fixture
def tensorrt_llm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a stand-in for the engine's package."""
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


async def test_missing_response_times_out(
    tensorrt_llm: None, monkeypatch: pytest.MonkeyPatch, cats: Adapter
) -> None:
    monkeypatch.setattr(adapters_module, "_LOAD_TIMEOUT_S", 0.01)
    promise = Promise(None, arrives=False)
    with pytest.raises(AdapterEngineError, match="no response within 0 s"):
        await backend_of(promise).load(cats)
    assert promise.is_aborted


@pytest.mark.parametrize("arrives", [True, False])
async def test_ended_engine_is_not_waited_for(
    tensorrt_llm: None, cats: Adapter, arrives: bool
) -> None:
    executor = SimpleNamespace()
    promise = Promise(RequestError("Executor worker died"), arrives=arrives)

    def generate(**_: Any) -> Promise:
        executor._fatal_error = RuntimeError("out of memory\nin some file")
        return promise

    server = Server("/v1/completions")
    server.generator = SimpleNamespace(_executor=executor, generate_async=generate)
    with pytest.raises(AdapterCrashError) as raised:
        await TensorRTAdapters(server).load(cats)
    reason = "TensorRT-LLM's engine has ended while it loaded adapter 'cats': "
    assert str(raised.value) == f"{reason}out of memory"
    with pytest.raises(AdapterEngineError, match="is dead: out of memory"):
        await TensorRTAdapters(server).load(cats)


async def test_failed_abort_does_not_hide_the_error(
    tensorrt_llm: None, monkeypatch: pytest.MonkeyPatch, cats: Adapter
) -> None:
    monkeypatch.setattr(adapters_module, "_LOAD_TIMEOUT_S", 0.01)
    promise = Promise(None, arrives=False)
    monkeypatch.setattr(promise, "abort", None)
    with pytest.raises(AdapterEngineError, match="no response within 0 s"):
        await backend_of(promise).load(cats)


@pytest.mark.parametrize("error", [RequestError("its rank"), ValueError("its rank")])
async def test_request_error_is_reported_as_adapter_error(
    tensorrt_llm: None, cats: Adapter, error: Exception
) -> None:
    with pytest.raises(AdapterError, match="its rank") as raised:
        await backend_of(Promise(error)).load(cats)
    assert raised.value.status_code == 400


async def test_dead_engine_is_not_an_adapter_error(
    tensorrt_llm: None, cats: Adapter
) -> None:
    class CppExecutorError(Exception):
        """Has the name of the engine's own class."""

    with pytest.raises(AdapterEngineError, match="engine failed: gone"):
        await backend_of(Promise(CppExecutorError("gone"))).load(cats)


# --- unexpected releases -----------------------------------------------------------


def test_module_without_server_is_one_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hooks._patch_server(ModuleType(hooks.SERVER_MODULE))
    [record] = caplog.records
    assert "has no OpenAIServer" in record.getMessage()
    assert "update model-hosting-container-standards" in record.getMessage()


def test_server_without_app_is_one_error(caplog: pytest.LogCaptureFixture) -> None:
    class OpenAIServer:
        """Has no ``app``."""

    module: Any = ModuleType(hooks.SERVER_MODULE)
    module.OpenAIServer = OpenAIServer
    hooks._patch_server(module)
    hooks._patch_server(module)  # The second call has no effect.
    module.OpenAIServer()
    [record] = caplog.records
    assert "The server has no app" in record.getMessage()


@dataclasses.dataclass(slots=True)
class LoRARequest:
    """The class of 1.2, which requires an existing path."""

    lora_path: str

    def __post_init__(self) -> None:
        if not Path(self.lora_path).exists():
            raise ValueError("The path does not exist.")


def test_lora_path_is_checked_by_constructor_but_not_by_validation() -> None:
    class Body(BaseModel):
        lora_request: LoRARequest

    module: Any = ModuleType(hooks.REQUEST_MODULE)
    hooks._patch_lora_request(module)  # Older releases have no LoRARequest.
    module.LoRARequest = LoRARequest
    for _ in range(2):  # The second call has no effect.
        hooks._patch_lora_request(module)
    assert LoRARequest("/").lora_path == "/"
    with pytest.raises(ValueError, match="does not exist"):
        LoRARequest("/no/such")
    body = Body.model_validate({"lora_request": {"lora_path": "/no/such"}})
    assert body.lora_request.lora_path == "/no/such"


class LateServer:
    """A server that adds its routes at startup, as upstream's main branch will do."""

    def __init__(self, eager: bool = False) -> None:
        self.app = FastAPI(lifespan=self.lifespan)
        if eager:
            self._register_routes_for_role()

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        self._register_routes_for_role()
        yield

    def _register_routes_for_role(self) -> None:
        self.register_routes()
        self.app.add_api_route("/v1/completions", self.answer, methods=["POST"])

    def register_routes(self) -> None:
        self.app.add_api_route("/health", lambda: "healthy")

    async def answer(self, request: Request) -> str:
        return request.url.path


def patch(server: type) -> Any:
    """Patch the class as if it were the engine's, and return it."""
    module: Any = ModuleType(hooks.SERVER_MODULE)
    module.OpenAIServer = server
    hooks._patch_server(module)
    return server


@pytest.mark.parametrize("eager", [True, False])
def test_server_is_bootstrapped_once_it_has_routes(eager: bool) -> None:
    class OpenAIServer(LateServer):
        """The class to patch."""

    server = patch(OpenAIServer)(eager=eager)
    assert is_bootstrapped(server.app) is eager
    with TestClient(server.app) as client:
        for _ in polling(10, interval=0.01):
            if client.get("/ping").status_code == 200:
                break
        answer = client.post("/invocations", json={"prompt": "hello"})
        assert answer.json() == "/v1/completions"


def test_unusable_handler_stops_late_startup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class OpenAIServer(LateServer):
        """The class to patch."""

    monkeypatch.setenv("CUSTOM_FASTAPI_PING_HANDLER", "no.py:ping")
    server = patch(OpenAIServer)()
    with pytest.raises(HandlerFileNotFoundError), TestClient(server.app):
        pass


def test_server_without_routes_is_one_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class OpenAIServer:
        def __init__(self) -> None:
            self.app = FastAPI()

    patch(OpenAIServer)()
    [record] = caplog.records
    assert "The server has no /health" in record.getMessage()


class WithAdapters(BaseModel):
    model: str
    lora_request: dict[str, Any] | None = None


def test_renamed_method_is_found() -> None:
    class Future(Server):
        async def some_other_name(self, request: WithAdapters) -> None: ...

    reason = TensorRTAdapters(Future()).unavailable()
    assert reason is not None
    assert "lora_config" in reason


@pytest.mark.parametrize("role", ["EMBEDDING", "MM_ENCODER", "VISUAL_GEN"])
def test_server_with_another_role_has_no_adapters(role: str) -> None:
    class Able(Server):
        async def answer_by(self, request: WithAdapters) -> None: ...

    for given in (role, SimpleNamespace(name=role)):
        reason = TensorRTAdapters(Able(server_role=given)).unavailable()
        assert reason == f"This server does not support adapters: its role is {role}."


def test_type_checking_annotations_are_tolerated() -> None:
    class Future(Server):
        async def first(self, request: Unknown) -> None: ...  # type: ignore[name-defined] # noqa: F821
        async def second(self, request: WithAdapters) -> None: ...

    reason = TensorRTAdapters(Future()).unavailable()
    assert reason is not None
    assert "lora_config" in reason


def test_methods_without_route_are_not_patched() -> None:
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


async def test_requests_without_model_are_passed_on() -> None:
    async def answer(*given: Any) -> Any:
        return given

    assert await answer_by_adapter(answer, Server(), ("some", 1), {}) == ("some", 1)


def test_release_without_disaggregated_server_works() -> None:
    hooks._report_disaggregated(ModuleType("tensorrt_llm.serve.openai_disagg_server"))


# --- requests that name an adapter -------------------------------------------------


class UnreadableAdapters:
    """A registry whose table cannot be read."""

    def find(self, name: str) -> Adapter | None:
        raise StorageError("The disk is full.")


def generation_arguments(server: Server, request: WithAdapters) -> Any:
    """Return the arguments of the generation for the request."""

    async def answer(*given: Any) -> Any:
        return generate_by_adapter(dict, None, (), {"inputs": [0]})

    return answer_by_adapter(answer, server, (request,), {})


async def test_adapter_unloaded_while_body_arrives_still_answers(
    tensorrt_llm: None, cats: Adapter, tmp_path: Path
) -> None:
    server = Server()
    backend = AdapterEngine(tmp_path / "engine")
    adapters = LocalRegistry(backend, tmp_path, None)
    server.app.state.sagemaker_adapters = adapters
    await adapters.register(AdapterSpec("cats", cats.path))

    async def answer() -> asyncio.Task[None]:
        found = adapters.find("cats")
        leaving = asyncio.create_task(adapters.unregister("cats"))
        while "cats" in adapters.view():  # noqa: ASYNC110
            await asyncio.sleep(0)
        arguments = await generation_arguments(server, WithAdapters(model="cats"))
        lora_request = arguments.pop("lora_request")
        assert found is not None
        assert (lora_request.lora_int_id, lora_request.lora_path) == (
            found.id,
            cats.path,
        )
        assert backend.texts
        return leaving

    await (await within_request(adapters, answer))
    assert await generation_arguments(server, WithAdapters(model="cats")) == {
        "inputs": [0]
    }
    await adapters.close()


async def test_nested_method_calls_keep_adapter(
    tensorrt_llm: None, cats: Adapter, tmp_path: Path
) -> None:
    """Even if the adapter is unregistered in between."""
    server = Server()
    adapters = LocalRegistry(AdapterEngine(tmp_path / "engine"), tmp_path, None)
    server.app.state.sagemaker_adapters = adapters
    await adapters.register(AdapterSpec("cats", cats.path))

    async def answer(request: WithAdapters) -> Any:
        await adapters.unregister("cats")
        mine = await generation_arguments(server, request)
        other = await generation_arguments(server, WithAdapters(model="other"))
        return mine["lora_request"].lora_name, other

    request = WithAdapters(model="cats")
    answered = await answer_by_adapter(answer, server, (request,), {})
    assert answered == ("cats", {"inputs": [0]})
    await adapters.close()


@pytest.mark.parametrize(
    "answer", [None, JSONResponse({"detail": "None"})], ids=["nothing", "no reason"]
)
async def test_empty_response_is_an_error(answer: Any) -> None:
    async def fail(request: WithAdapters) -> Any:
        return answer

    request = WithAdapters(model="base")
    answered = await answer_by_adapter(fail, Server(), (request,), {})
    assert answered.status_code == 503
    assert b"TensorRT-LLM's engine is dead." in answered.body


async def test_error_of_living_engine_is_passed_through() -> None:
    error = JSONResponse({"message": "no"}, 400)

    async def refuse(request: WithAdapters) -> Any:
        return error

    request = WithAdapters(model="base")
    assert await answer_by_adapter(refuse, Server(), (request,), {}) is error


async def test_unreadable_table_is_a_507(tensorrt_llm: None) -> None:
    server = Server()
    server.app.state.sagemaker_adapters = UnreadableAdapters()
    answer = await generation_arguments(server, WithAdapters(model="cats"))
    assert answer.status_code == 507
    assert b"The disk is full." in answer.body


def test_derived_server_class_has_routes() -> None:
    class Derived(Server):
        """A subclass that does not override anything."""

    with client_of(Derived("/v1/completions")) as client:
        answer = client.post("/invocations", json={"prompt": "hello"})
        assert answer.json() == {"path": "/v1/completions"}
