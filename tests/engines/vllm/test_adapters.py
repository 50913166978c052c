"""Adapters on stand-ins for vLLM: interfaces of other releases, and rare errors.

The stand-ins have the client and the registry of vLLM; other tests are in real_vllm.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI, HTTPException

from adapter_engine import Gate, write_adapter
from mhcs.vllm.adapters import VLLMAdapters
from model_hosting_container_standards.adapters.adapter import AdapterSpec
from model_hosting_container_standards.adapters.local_registry import LocalRegistry
from model_hosting_container_standards.exceptions import (
    AdapterCapacityError,
    AdapterEngineError,
    AdapterError,
)
from request_scope import within_request


class LoRARequest(msgspec.Struct):
    lora_name: str
    lora_int_id: int
    lora_path: str = ""


class EngineDeadError(Exception):
    pass


class Client:
    """A client of vLLM's engine, without the engine."""

    def __init__(self, lora_config: Any) -> None:
        self.vllm_config = SimpleNamespace(lora_config=lora_config)
        self.loaded: dict[int, str] = {}
        self.pinned: set[int] = set()
        self.error: Exception | None = None

    async def add_lora(self, request: LoRARequest) -> bool:
        if self.error is not None:
            raise self.error
        self.loaded[request.lora_int_id] = request.lora_name
        return True

    async def remove_lora(self, lora_id: int) -> bool:
        self.pinned.discard(lora_id)
        return self.loaded.pop(lora_id, None) is not None

    async def pin_lora(self, lora_id: int) -> bool:
        self.pinned.add(lora_id)
        return True

    async def generate(
        self, prompt: Any, lora_request: Any = None, priority: int = 0
    ) -> AsyncIterator[Any]:
        yield prompt, lora_request, priority


class Models:
    """A registry, a dict or a list by release, with vLLM's own load and unload."""

    def __init__(self, registry: Any) -> None:
        self.lora_requests = registry
        self.base_model_paths = [SimpleNamespace(name="base")]
        self.lora_resolvers: list[Any] = []

    async def load_lora_adapter(self, request: Any) -> str:
        entry = LoRARequest(request.lora_name, 1, request.lora_path)
        if isinstance(self.lora_requests, dict):
            self.lora_requests[request.lora_name] = entry
        else:
            self.lora_requests.append(entry)
        return "loaded"

    async def unload_lora_adapter(self, request: Any) -> str:
        if isinstance(self.lora_requests, dict):
            del self.lora_requests[request.lora_name]
        else:
            self.lora_requests = [
                entry
                for entry in self.lora_requests
                if entry.lora_name != request.lora_name
            ]
        return "unloaded"

    def show(self) -> list[str]:
        """Return the names in /v1/models, in the same order."""
        registry = self.lora_requests
        entries = registry.values() if isinstance(registry, dict) else registry
        return [entry.lora_name for entry in entries]

    def find(self, name: str) -> Any:
        """Return an entry, looked up as in the release's serving code."""
        if isinstance(self.lora_requests, dict):
            found = name in self.lora_requests
            return self.lora_requests[name] if found else None
        return next((e for e in self.lora_requests if e.lora_name == name), None)


class Responses:
    """Background responses, each of two generations."""

    def __init__(self) -> None:
        self.between = Gate()

    async def _run_background_request(self, vllm: VLLM, entry: Any) -> list[int]:
        [(_, first, _)] = await vllm.generate("p", lora_request=entry)
        await self.between.pass_through()
        [(_, second, _)] = await vllm.generate("p", lora_request=entry)
        return [first.lora_int_id, second.lora_int_id]

    async def _run_background_request_stream(self, vllm: VLLM, entry: Any) -> Any:
        return await Responses._run_background_request(self, vllm, entry)


class VLLM:
    """The state of a server, and its adapters."""

    def __init__(
        self,
        folder: Path,
        registry: Any,
        root: Path | None = None,
        responses: Responses | None = None,
    ) -> None:
        config = SimpleNamespace(max_lora_rank=16, max_loras=2, max_cpu_loras=None)
        self.client, self.models = Client(config), Models(registry)
        self.app = FastAPI()
        self.app.state.engine_client = self.client
        self.app.state.openai_serving_models = self.models
        self.app.state.openai_serving_responses = responses
        self.backend = VLLMAdapters(self.app)
        folder.mkdir()
        self.adapters = LocalRegistry(self.backend, folder, root)
        self.backend.attach(self.adapters)

    async def generate(self, *args: Any, **kwargs: Any) -> list[Any]:
        return [output async for output in self.client.generate(*args, **kwargs)]


@pytest.fixture(autouse=True)
def request_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace vLLM's module of LoRARequest, which need not be installed."""
    module: Any = ModuleType("vllm.lora.request")
    module.LoRARequest = LoRARequest
    for name in ("vllm", "vllm.lora"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "vllm.lora.request", module)


@pytest.fixture(params=[dict, list])
async def vllm(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VLLM]:
    vllm = VLLM(tmp_path / "state", request.param())
    yield vllm
    await vllm.adapters.close()


@pytest.fixture
def spec(tmp_path: Path) -> AdapterSpec:
    return AdapterSpec("a", write_adapter(tmp_path / "a", "a"))


def load_request(name: str, path: str = "/x") -> Any:
    return SimpleNamespace(lora_name=name, lora_path=path)


async def test_every_registry_shows_registered_adapters(
    vllm: VLLM, spec: AdapterSpec
) -> None:
    await vllm.adapters.register(spec)
    assert vllm.models.find("a").lora_path == spec.src
    assert len(vllm.models.lora_requests) == 1
    await vllm.adapters.unregister("a")
    assert vllm.models.find("a") is None
    assert (len(vllm.models.lora_requests), vllm.client.loaded) == (0, {})


async def test_vllms_own_adapters_are_kept(vllm: VLLM, spec: AdapterSpec) -> None:
    await vllm.models.load_lora_adapter(load_request("own"))
    await vllm.adapters.register(spec)
    assert vllm.backend.own_adapters() == ["own"]
    assert vllm.models.show() == ["own", "a"]
    assert vllm.backend.resolves_natively("own")
    assert not vllm.backend.resolves_natively("other")
    with pytest.raises(AdapterError, match="is already"):
        await vllm.adapters.register(AdapterSpec("own", spec.src))
    for method in (vllm.models.load_lora_adapter, vllm.models.unload_lora_adapter):
        with pytest.raises(HTTPException, match="/adapters"):
            await method(load_request("a"))
    await vllm.models.unload_lora_adapter(load_request("own"))
    assert vllm.backend.own_adapters() == []
    # Changes by vLLM do not stop our updates of the registry.
    await vllm.adapters.unregister("a")
    assert vllm.models.find("a") is None


async def test_adapters_root_applies_to_vllms_own_route(tmp_path: Path) -> None:
    vllm = VLLM(tmp_path / "state", {}, root=tmp_path / "root")
    with pytest.raises(HTTPException, match="not below"):
        await vllm.models.load_lora_adapter(load_request("own", str(tmp_path)))
    await vllm.adapters.close()


async def test_registry_behaves_like_a_dict(tmp_path: Path, spec: AdapterSpec) -> None:
    vllm = VLLM(tmp_path / "state", {"own": LoRARequest("own", 1)})
    await vllm.adapters.register(spec)
    registry = vllm.models.lora_requests
    assert [*registry] == [*registry.keys()] == ["own", "a"]
    assert [entry.lora_name for entry in registry.values()] == ["own", "a"]
    assert {name: entry.lora_name for name, entry in registry.items()} == {
        "own": "own",
        "a": "a",
    }
    assert registry.get("own") is registry["own"]
    assert registry.get("a") is registry["a"]
    assert registry.get("unknown") is None
    with pytest.raises(KeyError):
        registry["unknown"]
    # vLLM checks for a name before it reads it: no KeyError if it is removed between.
    assert "a" in registry
    await vllm.adapters.unregister("a")
    assert registry["a"].lora_name == "a"
    await vllm.adapters.close()


@pytest.mark.parametrize("end", ["DELETE", "replace"])
async def test_request_keeps_its_adapter(
    vllm: VLLM, spec: AdapterSpec, end: str
) -> None:
    """vLLM looks the name up and generates several times per request."""
    await vllm.adapters.register(spec)
    ended: list[asyncio.Task[None]] = []

    async def answer() -> set[int]:
        first = vllm.models.find("a")
        # Lookups in a list are not intercepted: the generation leases the adapter.
        [(_, computed, _)] = await vllm.generate("p", lora_request=first)
        before = vllm.adapters.view()["a"].id
        ended.append(asyncio.create_task(end_adapter(vllm, spec, end)))
        while before in [known.id for known in vllm.adapters.view().values()]:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert vllm.models.show() == ["a"]
        again = vllm.models.find("a")
        [(_, later, _)] = await vllm.generate("p", lora_request=again)
        assert before in vllm.client.loaded
        return {r.lora_int_id for r in (first, computed, again, later)} | {before}

    ids = await within_request(vllm.adapters, answer)
    assert len(ids) == 1
    await asyncio.gather(*ended)
    found = vllm.models.find("a")
    assert {*vllm.client.loaded} == ({found.lora_int_id} if found else set())
    assert not ids & {*vllm.client.loaded}


async def end_adapter(vllm: VLLM, spec: AdapterSpec, end: str) -> None:
    if end == "DELETE":
        await vllm.adapters.unregister("a")
    else:
        await vllm.adapters.register(msgspec.structs.replace(spec, replace=True))


@pytest.mark.parametrize("way", ["whole", "stream"])
async def test_background_response_keeps_adapter_of_its_request(
    tmp_path: Path, spec: AdapterSpec, way: str
) -> None:
    """After the request is answered, vLLM continues to generate for tool calls."""
    responses = Responses()
    vllm = VLLM(tmp_path / "state", {}, responses=responses)
    await vllm.adapters.register(spec)

    async def answer() -> asyncio.Task[list[int]]:
        entry = vllm.models.find("a")
        run = responses._run_background_request
        if way == "stream":
            run = responses._run_background_request_stream
        return asyncio.create_task(run(vllm, entry))

    background = await within_request(vllm.adapters, answer)
    await responses.between.reached.wait()
    ended = asyncio.create_task(vllm.adapters.unregister("a"))
    while "a" in vllm.adapters.view():  # noqa: ASYNC110
        await asyncio.sleep(0)
    responses.between.opened.set()
    first, second = await background
    assert first == second
    await ended
    assert vllm.client.loaded == {}
    await vllm.adapters.close()


async def test_each_registration_has_its_own_engine_name(
    vllm: VLLM, spec: AdapterSpec
) -> None:
    await vllm.adapters.register(spec)
    await vllm.adapters.register(msgspec.structs.replace(spec, replace=True))
    entry = vllm.models.find("a")
    assert entry.lora_name == "a"
    [(_, by_keyword, _)] = await vllm.generate("p", lora_request=entry)
    [(_, by_position, priority)] = await vllm.generate("p", entry, 7)
    made = SimpleNamespace(lora_request=entry)
    [(given, _, _)] = await vllm.generate(made, lora_request=entry)
    names = {r.lora_name for r in (by_keyword, by_position, given.lora_request)}
    assert names == {*vllm.client.loaded.values()} == {f"a#{entry.lora_int_id}"}
    assert priority == 7


async def test_other_requests_reach_engine_unchanged(vllm: VLLM) -> None:
    own = LoRARequest("own", 1)
    assert await vllm.generate("p", None, 7) == [("p", None, 7)]
    assert await vllm.generate("p", lora_request=own) == [("p", own, 0)]


async def test_adapter_unloaded_before_computation_is_a_client_error(
    vllm: VLLM, spec: AdapterSpec
) -> None:
    await vllm.adapters.register(spec)
    entry = vllm.models.find("a")
    await vllm.adapters.unregister("a")
    with pytest.raises(ValueError, match="Adapter 'a' does not exist"):
        await vllm.generate("p", lora_request=entry)
    assert vllm.client.loaded == {}


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (Exception("Call to add_lora method failed: bad rank"), AdapterError, "bad"),
        (Exception(""), AdapterError, "Exception("),
        (EngineDeadError("gone"), AdapterEngineError, "dead"),
    ],
)
async def test_engines_errors_are_reported(
    vllm: VLLM,
    spec: AdapterSpec,
    error: Exception,
    kind: type[AdapterError],
    reason: str,
) -> None:
    vllm.client.error = error
    with pytest.raises(kind) as raised:
        await vllm.adapters.register(spec)
    assert type(raised.value) is kind
    assert reason in str(raised.value)
    assert "Call to" not in str(raised.value)
    assert vllm.models.find("a") is None
    # Without preload, the first request fails.
    await vllm.adapters.register(msgspec.structs.replace(spec, preload=False))
    expected = kind if kind is AdapterEngineError else ValueError
    with pytest.raises(expected):
        await vllm.generate("p", lora_request=vllm.models.find("a"))


async def test_pins_are_passed_to_engine(
    vllm: VLLM, spec: AdapterSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    await vllm.adapters.register(spec)
    await vllm.adapters.update("a", pin=True)
    assert {*vllm.client.loaded} == vllm.client.pinned
    await vllm.adapters.update("a", pin=False)
    assert vllm.client.pinned == set()
    assert vllm.client.loaded
    monkeypatch.setattr(vllm.client, "pin_lora", None)
    with pytest.raises(AdapterCapacityError, match="cannot pin"):
        await vllm.adapters.update("a", pin=True)


async def test_limits_and_flags_come_from_server(vllm: VLLM) -> None:
    backend = vllm.backend
    assert (backend.max_rank, backend.slots, backend.cache_size) == (16, 2, 2)
    assert backend.flags == frozenset()
    assert backend.unavailable() is None


def test_server_without_lora_names_missing_flag() -> None:
    app = FastAPI()
    assert "no engine" in str(VLLMAdapters(app).unavailable())
    app.state.engine_client = Client(None)
    app.state.vllm_config = SimpleNamespace(lora_config=None)
    assert "--enable-lora" in str(VLLMAdapters(app).unavailable())


def test_adapters_are_unavailable_with_direct_streaming(
    vllm: VLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING", "1")
    assert "SageMakerIngress" in str(vllm.backend.unavailable())


def test_each_server_of_a_machine_has_its_own_name() -> None:
    app = FastAPI()
    backend = VLLMAdapters(app)
    names = [backend.server_name]
    for args in (
        {"port": 1},
        {"port": 2},
        {"port": 2, "host": "127.0.0.1"},
        {"port": 2, "host": "127.0.0.2"},
        {"port": 2, "uds": "/s"},
        {"uds": "/t"},
    ):
        app.state.args = SimpleNamespace(**args)
        names.append(backend.server_name)
    assert names[:4] == ["vllm", "vllm-1", "vllm-2", "vllm-127.0.0.1-2"]
    assert len({*names}) == 7


@pytest.mark.parametrize("host", [None, "", "0.0.0.0", "::"])
def test_server_on_every_address_is_named_by_port(host: str | None) -> None:
    app = FastAPI()
    app.state.args = SimpleNamespace(host=host, port=8080)
    assert VLLMAdapters(app).server_name == "vllm-8080"


async def test_any_name_may_resolve_with_vllms_own_resolver(
    vllm: VLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "True")
    assert not vllm.backend.resolves_natively("any")
    vllm.models.lora_resolvers.append(object())
    assert vllm.backend.resolves_natively("any")
    monkeypatch.delenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING")
    assert not vllm.backend.resolves_natively("any")
