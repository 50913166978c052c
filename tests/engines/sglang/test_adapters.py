"""Adapters of an SGLang server of one tokenizer worker or of two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException

from adapter_engine import write_adapter
from mhcs.sglang import adapters as module
from mhcs.sglang.adapters import SGLangAdapters
from model_hosting_container_standards.adapters.adapter import AdapterSpec
from model_hosting_container_standards.adapters.local_registry import LocalRegistry
from model_hosting_container_standards.adapters.request_leases import (
    CURRENT,
    RequestLeases,
)
from model_hosting_container_standards.exceptions import (
    AdapterCapacityError,
    AdapterError,
)
from sglang_manager import (
    LoadLoRAAdapterReqInput,
    LoRARef,
    Manager,
    Request,
    Scheduler,
    UnloadLoRAAdapterReqInput,
    install,
)

Worker = tuple[LocalRegistry, Manager]
Start = Callable[..., Worker]


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> Scheduler:
    install(monkeypatch)
    return Scheduler()


@pytest.fixture
async def start(scheduler: Scheduler, tmp_path: Path) -> AsyncIterator[Start]:
    (tmp_path / "state").mkdir()
    async with AsyncExitStack() as opened:

        def start_worker(**arguments: Any) -> Worker:
            manager = Manager(scheduler, **arguments)
            backend = SGLangAdapters(FastAPI(), manager)
            registry = LocalRegistry(backend, tmp_path / "state", None)
            backend.attach(registry)
            opened.push_async_callback(registry.close)
            return registry, manager

        yield start_worker


@pytest.fixture
def src(tmp_path: Path) -> Callable[[str], str]:
    return lambda name: write_adapter(tmp_path / name, name)


async def texts(manager: Manager, lora_path: Any, **fields: Any) -> list[Any]:
    request = Request(lora_path=lora_path, **fields)
    return [output async for output in manager.generate_request(request)]


async def test_adapter_of_one_worker_is_used_by_the_other(
    start: Start, scheduler: Scheduler, src: Callable[[str], str]
) -> None:
    (first, a), (second, b) = start(tokenizer_worker_num=2), start()
    await first.register(AdapterSpec("fr", src("fr")))
    for manager in (a, b):
        assert await texts(manager, "fr") == [src("fr")] * 2
    assert len(scheduler.loaded) == 1
    await second.unregister("fr")
    assert not scheduler.loaded
    for manager in (a, b):
        with pytest.raises(HTTPException) as raised:
            await texts(manager, "fr")
        assert raised.value.status_code == 404


async def test_reused_name_has_the_new_weights_in_every_worker(
    start: Start, src: Callable[[str], str]
) -> None:
    (first, a), (second, b) = start(), start()
    for name in ("one", "two", "three"):
        await first.register(AdapterSpec("fr", src(name), replace=True))
        for manager in (a, b):
            assert await texts(manager, "fr") == [src(name)] * 2
    # Nothing is left of the earlier ones.
    await second.register(AdapterSpec("de", src("de")))
    await texts(b, "de")
    assert sorted(ref.lora_path for ref in b.lora_registry.references.values()) == [
        src("de"),
        src("three"),
    ]
    assert second.backend is not None
    assert not second.backend.own_adapters()


async def test_selected_adapter_answers_for_the_whole_request(
    start: Start, src: Callable[[str], str]
) -> None:
    registry, manager = start()
    await registry.register(AdapterSpec("fr", src("fr")))
    leases = RequestLeases(registry.leases)
    token = CURRENT.set(leases)
    try:
        await registry.select("fr")
        assert await texts(manager, None) == [src("fr")] * 2
        assert await texts(manager, "unknown") == [src("fr")] * 2
    finally:
        CURRENT.reset(token)
        leases.release()
    assert await texts(manager, None) == [None] * 2


async def test_own_adapter_is_selected_by_its_name(start: Start) -> None:
    registry, manager = start()
    await manager.load_lora_adapter(LoadLoRAAdapterReqInput("own", "/own"), "HTTP")
    leases = RequestLeases(registry.leases)
    token = CURRENT.set(leases)
    try:
        await registry.select("own")
        assert await texts(manager, None) == ["/own"] * 2
    finally:
        CURRENT.reset(token)
        leases.release()


async def test_client_cannot_name_an_adapter_by_its_id(start: Start) -> None:
    _, manager = start()
    request = Request(lora_id="id7")
    async for _ in manager.generate_request(request):
        assert request.lora_id is None


async def test_id_of_an_earlier_engine_is_not_used(
    start: Start, scheduler: Scheduler, src: Callable[[str], str]
) -> None:
    registry, _ = start()
    await registry.register(AdapterSpec("fr", src("fr")))
    registry.store.unload_all()  # The engine is restarted.
    scheduler.loaded.clear()
    restarted, manager = start()
    assert restarted.get("fr").engine_id is None
    await restarted.unregister("fr")
    assert not manager.lora_registry.references


async def test_aborted_request_keeps_its_adapter_until_the_engine_has_ended_it(
    start: Start, scheduler: Scheduler, src: Callable[[str], str]
) -> None:
    registry, manager = start()
    await registry.register(AdapterSpec("fr", src("fr")))
    outputs = manager.generate_request(Request(rid="aborted", lora_path="fr"))
    assert await anext(outputs) == src("fr")
    manager.rid_to_state["aborted"] = object()
    await outputs.aclose()
    unregistering = asyncio.ensure_future(registry.unregister("fr"))
    await asyncio.wait({unregistering}, timeout=0.3)
    assert scheduler.loaded
    del manager.rid_to_state["aborted"]
    await asyncio.wait_for(unregistering, 10)
    assert not scheduler.loaded


async def test_each_prompt_has_its_adapter(
    start: Start, src: Callable[[str], str]
) -> None:
    registry, manager = start()
    for name in ("fr", "de"):
        await registry.register(AdapterSpec(name, src(name)))
    (first, _) = await texts(manager, ["fr", None, "de"])
    assert first == [src("fr"), None, src("de")]


async def test_unknown_adapter_of_a_stream_is_an_error_in_it(start: Start) -> None:
    _, manager = start()
    with pytest.raises(ValueError, match="'fr' of lora_path does not exist"):
        await texts(manager, "fr", stream=True)


async def test_evicted_adapters_are_loaded_again(
    start: Start, scheduler: Scheduler, src: Callable[[str], str]
) -> None:
    registry, manager = start(max_loaded_loras=1)
    for name in ("fr", "de"):
        await registry.register(AdapterSpec(name, src(name)))
    for name in ("fr", "de", "fr"):
        assert await texts(manager, name) == [src(name)] * 2
    assert len(scheduler.loaded) == 1
    await registry.unregister("de")  # It is evicted.
    await registry.unregister("fr")
    assert not scheduler.loaded
    assert not manager.lora_ref_cache


async def test_own_adapters_are_used_and_listed(
    start: Start, scheduler: Scheduler, src: Callable[[str], str]
) -> None:
    registry, manager = start()
    await registry.register(AdapterSpec("fr", src("fr")))
    own = LoadLoRAAdapterReqInput("own", "/own")
    assert (await manager.load_lora_adapter(own, "an HTTP request")).success
    assert registry.backend is not None
    assert [*registry.backend.own_adapters()] == ["own"]
    assert await texts(manager, "own") == ["/own"] * 2
    assert {*manager.lora_registry.get_all_adapters()} == {"own", "fr"}
    unload = UnloadLoRAAdapterReqInput("own")
    assert (await manager.unload_lora_adapter(unload, "an HTTP request")).success
    with pytest.raises(HTTPException):
        await texts(manager, "own")
    assert len(scheduler.loaded) == 1


async def test_own_routes_refuse_registered_adapters(
    start: Start, src: Callable[[str], str]
) -> None:
    registry, manager = start()
    await registry.register(AdapterSpec("fr", src("fr")))
    with pytest.raises(HTTPException) as raised:
        await manager.load_lora_adapter(LoadLoRAAdapterReqInput("fr", "/x"), "HTTP")
    assert raised.value.status_code == 409
    with pytest.raises(HTTPException):
        await manager.unload_lora_adapter(UnloadLoRAAdapterReqInput("fr"), "HTTP")


async def test_own_route_loads_from_the_root_only(
    scheduler: Scheduler, tmp_path: Path, src: Callable[[str], str]
) -> None:
    manager = Manager(scheduler)
    backend = SGLangAdapters(FastAPI(), manager)
    (tmp_path / "root").mkdir()
    registry = LocalRegistry(backend, tmp_path, tmp_path / "root")
    backend.attach(registry)
    outside = LoadLoRAAdapterReqInput("x", src("outside"))
    with pytest.raises(HTTPException):
        await manager.load_lora_adapter(outside, "HTTP")
    inside = LoadLoRAAdapterReqInput("x", write_adapter(tmp_path / "root" / "x", "x"))
    assert (await manager.load_lora_adapter(inside, "HTTP")).success
    await registry.close()


async def test_refused_adapter_is_an_error_and_leaves_nothing(
    start: Start, scheduler: Scheduler, src: Callable[[str], str]
) -> None:
    registry, _ = start()
    scheduler.refusal = "It does not fit."
    with pytest.raises(AdapterError, match="does not fit"):
        await registry.register(AdapterSpec("fr", src("fr")))
    assert not registry.view()


async def test_pins_are_part_of_loading(
    start: Start, scheduler: Scheduler, src: Callable[[str], str]
) -> None:
    registry, _ = start(max_loras_per_batch=2)
    await registry.register(AdapterSpec("fr", src("fr"), pin=True))
    assert [ref.pinned for ref in scheduler.loaded.values()] == [True]
    with pytest.raises(AdapterCapacityError, match="can pin 1"):
        await registry.register(AdapterSpec("de", src("de"), pin=True))
    with pytest.raises(AdapterCapacityError, match="cannot unpin"):
        await registry.update("fr", pin=False)
    await registry.unregister("fr")
    await registry.register(AdapterSpec("de", src("de")))
    with pytest.raises(AdapterCapacityError, match="when it loads them"):
        await registry.update("de", pin=True)


async def test_unload_that_never_ends_is_given_up(
    start: Start,
    src: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "_UNLOAD_S", 0.01)
    registry, manager = start()
    await registry.register(AdapterSpec("fr", src("fr")))
    manager.never_unloads = True
    await registry.unregister("fr")
    assert "stays in memory" in caplog.text


async def test_unload_that_fails_is_reported(
    start: Start,
    scheduler: Scheduler,
    src: Callable[[str], str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry, _ = start()
    await registry.register(AdapterSpec("fr", src("fr")))
    scheduler.refusal = "no"
    await registry.unregister("fr")
    assert "stays in memory" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, None),
        ({"enable_lora": False}, "--enable-lora"),
        ({"dp_size": 2}, "--dp-size 1 only"),
        ({"tokenizer_worker_num": 2}, None),
        ({"tokenizer_worker_num": 2, "max_loaded_loras": 4}, "Leave one"),
    ],
)
async def test_reason_why_adapters_are_unavailable(
    scheduler: Scheduler, arguments: dict[str, Any], reason: str | None
) -> None:
    found = SGLangAdapters(FastAPI(), Manager(scheduler, **arguments)).unavailable()
    assert found is None if reason is None else reason in (found or "")


async def test_limits_are_those_of_the_arguments(scheduler: Scheduler) -> None:
    backend = SGLangAdapters(FastAPI(), Manager(scheduler, max_loaded_loras=5))
    assert (backend.max_rank, backend.slots, backend.max_pinned) == (8, 4, 3)
    assert (backend.cache_size, backend.server_name) == (5, "sglang-8080")
    assert backend.base_model() is None


@pytest.mark.parametrize(
    ("model", "adapter"),
    [
        ("base", None),
        ("default", None),
        ("base:", None),
        ("base:fr", "fr"),
        ("fr", "fr"),
        ("other:fr", "other:fr"),
    ],
)
async def test_model_field_names_an_adapter_or_the_base_model(
    scheduler: Scheduler, model: str, adapter: str | None
) -> None:
    assert SGLangAdapters(FastAPI(), Manager(scheduler)).adapter_of(model) == adapter


async def test_concurrent_requests_add_one_reference(
    start: Start, src: Callable[[str], str]
) -> None:
    (first, _), (_, manager) = start(), start()
    await first.register(AdapterSpec("fr", src("fr")))
    answers = await asyncio.gather(*(texts(manager, "fr") for _ in range(5)))
    assert answers == [[src("fr")] * 2] * 5
    reference = manager.lora_registry.references["fr"]
    assert isinstance(reference, LoRARef)
