"""Requests in flight while their adapter is unregistered, replaced or changed.

Everything happens in one event loop, and the engine waits at its gates until a test
opens them: no test depends on timing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from adapter_engine import DEADLY, AdapterEngine, Gate, app_of, write_adapter
from invocations_app import ADAPTER


@pytest.fixture
def engine(tmp_path: Path) -> AdapterEngine:
    return AdapterEngine(tmp_path / "engine", slots=2)


@pytest_asyncio.fixture
async def client(
    engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    app = app_of(engine, monkeypatch)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://server") as client,
    ):
        yield client


async def register(
    client: httpx.AsyncClient, folder: Path, name: str, text: str, **more: Any
) -> int:
    body = {"name": name, "src": write_adapter(folder / text, text), **more}
    return (await client.post("/adapters", json=body)).status_code


async def ask(client: httpx.AsyncClient, name: str) -> str:
    answer = await client.post("/invocations", json={}, headers={ADAPTER: name})
    text: str = answer.json().get("text") or answer.json()["detail"]
    return text


async def start_request(
    engine: AdapterEngine, client: httpx.AsyncClient, name: str
) -> tuple[Gate, asyncio.Task[str]]:
    """Start a request; return the gate that holds it in the engine, and its task."""
    gate = engine.gates["answer"] = Gate()
    request = asyncio.create_task(ask(client, name))
    await gate.reached.wait()
    del engine.gates["answer"]
    return gate, request


async def wait_until_404(client: httpx.AsyncClient, path: str) -> None:
    """Return once ``path`` answers 404."""
    # There is no event to wait for, only the response.
    while (await client.get(path)).status_code != 404:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def finish(*waiting: Awaitable[Any]) -> list[Any]:
    return await asyncio.wait_for(asyncio.gather(*waiting), timeout=20)


async def test_unload_waits_for_request_that_uses_adapter(
    engine: AdapterEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await register(client, tmp_path, "a", "one")
    gate, request = await start_request(engine, client, "a")
    unload = asyncio.create_task(client.delete("/adapters/a"))
    await wait_until_404(client, "/adapters/a")
    # New requests cannot use the adapter; the one in flight keeps it.
    assert "Adapter 'a' does not exist" in await ask(client, "a")
    assert not unload.done()
    assert engine.texts == ["one"]
    gate.opened.set()
    text, answer = await finish(request, unload)
    assert (text, answer.text) == ("one", "Adapter a unregistered")
    assert engine.texts == engine.violations == []


async def test_unload_waits_for_last_of_several_requests(
    engine: AdapterEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await register(client, tmp_path, "a", "one")
    running = [await start_request(engine, client, "a") for _ in range(3)]
    unload = asyncio.create_task(client.delete("/adapters/a"))
    await wait_until_404(client, "/adapters/a")
    for gate, request in running:
        assert not unload.done()
        assert engine.texts == ["one"]
        gate.opened.set()
        assert await finish(request) == ["one"]
    await finish(unload)
    assert engine.texts == engine.violations == []


async def test_unload_does_not_wait_for_other_adapters(
    engine: AdapterEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await register(client, tmp_path, "a", "one")
    await register(client, tmp_path, "b", "two")
    gate, request = await start_request(engine, client, "a")
    await finish(client.delete("/adapters/b"))
    assert engine.texts == ["one"]
    gate.opened.set()
    assert await finish(request) == ["one"]


async def test_request_finishes_with_replaced_adapter(
    engine: AdapterEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await register(client, tmp_path, "a", "old")
    gate, request = await start_request(engine, client, "a")
    replace = asyncio.create_task(
        register(client, tmp_path, "a", "new", load_inplace=True)
    )
    while await ask(client, "a") != "new":  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert engine.texts == ["new", "old"]
    gate.opened.set()
    assert await finish(request, replace) == ["old", 200]
    assert engine.texts == ["new"]
    assert engine.violations == []


async def test_name_is_free_while_old_requests_finish(
    engine: AdapterEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await register(client, tmp_path, "a", "old")
    gate, request = await start_request(engine, client, "a")
    unload = asyncio.create_task(client.delete("/adapters/a"))
    await wait_until_404(client, "/adapters/a")
    assert await finish(register(client, tmp_path, "a", "new")) == [200]
    assert await ask(client, "a") == "new"
    gate.opened.set()
    assert (await finish(request, unload))[0] == "old"
    assert engine.texts == ["new"]
    assert engine.violations == []


async def test_unpinning_does_not_unload_adapter_in_use(
    engine: AdapterEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await register(client, tmp_path, "a", "one", pin=True)
    gate, request = await start_request(engine, client, "a")
    update = asyncio.create_task(client.post("/adapters/a/update", json={"pin": False}))
    for _ in range(50):
        await asyncio.sleep(0)
    gate.opened.set()
    text, answer = await finish(request, update)
    assert (text, answer.status_code) == ("one", 200)
    assert engine.violations == engine.pinned == []


async def test_draining_pinned_adapter_keeps_its_slot(
    engine: AdapterEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    for name in "ab":
        await register(client, tmp_path, name, name, pin=True)
    gate, request = await start_request(engine, client, "a")
    unload = asyncio.create_task(client.delete("/adapters/a"))
    await wait_until_404(client, "/adapters/a")
    assert await register(client, tmp_path, "c", "c", pin=True) == 507
    gate.opened.set()
    await finish(request, unload)
    assert await register(client, tmp_path, "c", "c", pin=True) == 200


async def test_loading_adapter_is_not_visible(
    engine: AdapterEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    gate = engine.gates["load"] = Gate()
    loading = asyncio.create_task(register(client, tmp_path, "a", "one"))
    await gate.reached.wait()
    assert (await client.get("/adapters")).json()["adapters"] == []
    assert (await client.delete("/adapters/b")).status_code == 404
    assert "does not exist" in await ask(client, "a")
    gate.opened.set()
    assert await finish(loading) == [200]
    assert await ask(client, "a") == "one"


async def test_concurrent_registrations_load_once(
    engine: AdapterEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    gate = engine.gates["load"] = Gate()
    requests = [register(client, tmp_path, "a", "one") for _ in range(5)]
    requests.append(register(client, tmp_path, "a", "other"))
    loading = asyncio.gather(*requests)
    await gate.reached.wait()
    gate.opened.set()
    statuses = (await finish(loading))[0]
    # Either source may be registered first.
    assert sorted(statuses) in ([200] * 5 + [409], [200] + [409] * 5)
    assert engine.calls == ["load a"]


async def test_concurrent_first_uses_load_once(
    engine: AdapterEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await register(client, tmp_path, "a", "one", preload=False)
    gate = engine.gates["load"] = Gate()
    using = asyncio.gather(*(ask(client, "a") for _ in range(5)))
    await gate.reached.wait()
    gate.opened.set()
    assert await finish(using) == [["one"] * 5]
    assert engine.calls == ["load a"]


async def test_operation_continues_after_client_disconnects(
    engine: AdapterEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    gate = engine.gates["load"] = Gate()
    request = asyncio.create_task(register(client, tmp_path, "a", "one"))
    await gate.reached.wait()
    request.cancel()
    gate.opened.set()
    # The next operation on the name waits for the first one.
    assert await finish(register(client, tmp_path, "a", "one")) == [200]
    assert engine.calls == ["load a"]


async def test_cancelled_request_releases_adapter(
    engine: AdapterEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await register(client, tmp_path, "a", "one")
    _, request = await start_request(engine, client, "a")
    request.cancel()
    await asyncio.wait([request])
    assert (await finish(client.delete("/adapters/a")))[0].status_code == 200
    assert engine.texts == []


async def test_first_use_during_replacement_uses_old_or_new_adapter(
    engine: AdapterEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await register(client, tmp_path, "a", "old", preload=False)
    gate = engine.gates["load"] = Gate()
    replace = asyncio.create_task(
        register(client, tmp_path, "a", "new", load_inplace=True)
    )
    await gate.reached.wait()
    request = asyncio.create_task(ask(client, "a"))
    for _ in range(50):
        await asyncio.sleep(0)
    gate.opened.set()
    text, status = await finish(request, replace)
    assert (text in ("old", "new"), status) == (True, 200)
    assert engine.texts == ["new"]
    assert engine.violations == []


async def test_adapter_is_leased_only_after_loading(
    engine: AdapterEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """Also when another adapter takes its name while it loads."""
    await register(client, tmp_path, "a", "old", preload=False)
    gate = engine.gates["load"] = Gate()
    replace = asyncio.create_task(
        register(client, tmp_path, "a", "new", load_inplace=True)
    )
    await gate.reached.wait()
    assert engine.adapters is not None
    leasing = asyncio.create_task(engine.adapters.lease_loaded("a"))
    for _ in range(50):
        await asyncio.sleep(0)
    gate.opened.set()
    [leased] = await finish(leasing)
    try:
        assert leased.id in engine.loaded()
    finally:
        engine.adapters.release(leased)
    assert await finish(replace) == [200]


async def test_requests_after_shutdown_are_a_503(
    engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_of(engine, monkeypatch)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as late:
        async with app.router.lifespan_context(app):
            assert (await late.get("/adapters")).status_code == 200
        assert (await late.get("/adapters")).status_code == 503


async def test_waiters_for_first_load_share_its_result(
    engine: AdapterEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """Otherwise each would wait in turn for a hung engine."""
    await register(client, tmp_path, "a", DEADLY, preload=False)
    gate = engine.gates["load"] = Gate()
    requests = [asyncio.create_task(ask(client, "a")) for _ in range(3)]
    await gate.reached.wait()
    gate.opened.set()
    assert await finish(*requests) == ["The engine is dead."] * 3
    assert engine.calls == ["load a"]
    del engine.gates["load"]
    assert await ask(client, "a") == "The engine is dead."
    assert engine.calls == ["load a"] * 2
