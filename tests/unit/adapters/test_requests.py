"""A request keeps one adapter, however many computations the engine makes for it.

The engine of these tests computes twice for each request and waits in between, as for
beams of a search, rounds of tool calls or chunks of audio.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from anyio.from_thread import run as from_thread
from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from adapter_engine import AdapterEngine, Gate, app_of, write_adapter
from invocations_app import ADAPTER
from model_hosting_container_standards.exceptions import AdapterError

Ask = Callable[[httpx.AsyncClient], Coroutine[Any, Any, list[str]]]


class TwiceEngine(AdapterEngine):
    """Compute twice per request, and wait at ``between`` in the meantime."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, slots=2)
        self.between = Gate()
        self.background: asyncio.Task[list[str]] | None = None

    async def texts_of(self, model: str) -> AsyncIterator[str]:
        yield await self.infer(model)
        await self.between.pass_through()
        yield await self.infer(model)

    async def whole(self, model: str) -> list[str]:
        return [text async for text in self.texts_of(model)]


def app_with_routes(engine: TwiceEngine) -> FastAPI:
    app = FastAPI()
    add_request_routes(app, engine)
    add_background_routes(app, engine)
    return app


def add_request_routes(app: FastAPI, engine: TwiceEngine) -> None:
    @app.post("/whole")
    async def whole(body: dict[str, str]) -> list[str]:
        return await engine.whole(body["model"])

    @app.post("/tasks")
    async def in_tasks(body: dict[str, str]) -> list[str]:
        first = await asyncio.create_task(engine.infer(body["model"]))
        await engine.between.pass_through()
        both = (asyncio.create_task(engine.infer(body["model"])) for _ in range(2))
        return [first, *await asyncio.gather(*both)]

    @app.post("/stream")
    async def stream(body: dict[str, str]) -> StreamingResponse:
        texts = engine.texts_of(body["model"])
        return StreamingResponse(f"{text}\n" async for text in texts)

    @app.post("/thread")
    def look_up(body: dict[str, str]) -> bool:
        assert engine.adapters is not None
        found = engine.adapters.find(body["model"])
        from_thread(engine.between.pass_through)
        return found is not None

    @app.post("/failing")
    async def failing(body: dict[str, str]) -> None:
        await engine.whole(body["model"])
        raise RuntimeError("The handler is broken.")


def add_background_routes(app: FastAPI, engine: TwiceEngine) -> None:
    @app.post("/background")
    async def background(body: dict[str, str]) -> str:
        await engine.infer(body["model"])
        engine.background = asyncio.create_task(engine.whole(body["model"]))
        return "queued"

    @app.post("/outlive")
    async def outlive_request(body: dict[str, str]) -> str:
        assert engine.adapters is not None
        adapters = engine.adapters
        adapters.find(body["model"])

        async def compute() -> list[str]:
            await asyncio.sleep(0)
            return await engine.whole(body["model"])

        work = adapters.outliving_request(compute)
        engine.background = asyncio.create_task(work)
        return "queued"

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        while model := await websocket.receive_text():
            await websocket.send_text(await engine.infer(model))


@pytest.fixture
def engine(tmp_path: Path) -> TwiceEngine:
    return TwiceEngine(tmp_path / "engine")


@pytest.fixture
def app(engine: TwiceEngine, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    return app_of(engine, monkeypatch, app_with_routes(engine))


@pytest_asyncio.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


def client_of(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://server")


async def register(
    client: httpx.AsyncClient, folder: Path, text: str, **more: Any
) -> None:
    body = {"name": "a", "src": write_adapter(folder / text, text), **more}
    (await client.post("/adapters", json=body)).raise_for_status()


async def finish(*waiting: Awaitable[Any]) -> list[Any]:
    return await asyncio.wait_for(asyncio.gather(*waiting), timeout=20)


async def wait_until_unregistered(client: httpx.AsyncClient) -> None:
    """Return once the adapter "one" is not registered any more."""

    async def is_registered() -> bool:
        answer = await client.get("/adapters/a")
        return bool(answer.status_code == 200 and answer.json()["src"].endswith("one"))

    async def poll() -> None:
        # There is no event to wait for, only the response.
        while await is_registered():  # noqa: ASYNC110
            await asyncio.sleep(0)

    await finish(poll())


def requester(path: str) -> Ask:
    async def ask(client: httpx.AsyncClient) -> list[str]:
        answer = await client.post(path, json={"model": "a"})
        assert answer.status_code == 200, answer.text
        return answer.text.split() if path == "/stream" else [*answer.json()]

    return ask


@pytest.mark.parametrize("path", ["/whole", "/tasks", "/stream"])
@pytest.mark.parametrize("end", ["DELETE", "replace"])
async def test_request_keeps_its_adapter_after_unload_or_replacement(
    engine: TwiceEngine, client: httpx.AsyncClient, tmp_path: Path, path: str, end: str
) -> None:
    await register(client, tmp_path, "one")
    request = asyncio.create_task(requester(path)(client))
    await finish(engine.between.reached.wait())
    ended: asyncio.Task[Any]
    if end == "DELETE":
        ended = asyncio.create_task(client.delete("/adapters/a"))
    else:
        ended = asyncio.create_task(
            register(client, tmp_path, "two", load_inplace=True)
        )
    await wait_until_unregistered(client)
    assert not ended.done()
    engine.between.opened.set()
    texts, _ = await finish(request, ended)
    assert {*texts} == {"one"}
    assert engine.texts == ([] if end == "DELETE" else ["two"])
    assert engine.violations == []


async def test_adapter_from_header_is_kept_for_whole_request(
    engine: TwiceEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await register(client, tmp_path, "one")
    gate = engine.gates["answer"] = Gate()
    request = asyncio.create_task(
        client.post("/invocations", json={}, headers={ADAPTER: "a"})
    )
    await finish(gate.reached.wait())
    replaced = asyncio.create_task(register(client, tmp_path, "two", load_inplace=True))
    await wait_until_unregistered(client)
    gate.opened.set()
    answer, _ = await finish(request, replaced)
    assert answer.json()["text"] == "one"


async def test_unload_by_another_process_waits_for_request(
    engine: TwiceEngine,
    client: httpx.AsyncClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both processes share the engine's folder and the table."""
    await register(client, tmp_path, "one")
    other = app_of(AdapterEngine(engine.folder), monkeypatch)
    async with other.router.lifespan_context(other), client_of(other) as others:
        request = asyncio.create_task(requester("/whole")(client))
        await finish(engine.between.reached.wait())
        unload = asyncio.create_task(others.delete("/adapters/a"))
        await wait_until_unregistered(others)
        await wait_until_unregistered(client)
        engine.between.opened.set()
        texts, answer = await finish(request, unload)
    assert (texts, answer.status_code) == (["one", "one"], 200)
    assert engine.texts == engine.violations == []


async def test_next_request_uses_new_adapter(
    engine: TwiceEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await register(client, tmp_path, "one")
    engine.between.opened.set()
    ask = requester("/whole")
    assert await ask(client) == ["one", "one"]
    await register(client, tmp_path, "two", load_inplace=True)
    assert await ask(client) == ["two", "two"]


@pytest.mark.parametrize("path", ["/whole", "/stream"])
async def test_client_disconnect_releases_adapter(
    engine: TwiceEngine, client: httpx.AsyncClient, tmp_path: Path, path: str
) -> None:
    await register(client, tmp_path, "one")
    request = asyncio.create_task(requester(path)(client))
    await finish(engine.between.reached.wait())
    request.cancel()
    await asyncio.wait([request])
    [answer] = await finish(client.delete("/adapters/a"))
    assert answer.status_code == 200
    assert engine.texts == engine.violations == []


async def test_failed_request_releases_adapter(
    engine: TwiceEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await register(client, tmp_path, "one")
    engine.between.opened.set()
    answer = await client.post("/failing", json={"model": "a"})
    assert answer.status_code == 500
    [answer] = await finish(client.delete("/adapters/a"))
    assert answer.status_code == 200
    assert engine.texts == []


async def test_lookup_in_a_thread_does_not_lease(
    engine: TwiceEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await register(client, tmp_path, "one")
    request = asyncio.create_task(client.post("/thread", json={"model": "a"}))
    await finish(engine.between.reached.wait())
    await finish(client.delete("/adapters/a"))
    assert engine.texts == []
    engine.between.opened.set()
    [answer] = await finish(request)
    assert answer.json() is True


async def test_background_task_leases_per_computation(
    engine: TwiceEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await register(client, tmp_path, "one")
    (await client.post("/background", json={"model": "a"})).raise_for_status()
    assert engine.background is not None
    await finish(engine.between.reached.wait())
    # The task is not computing, so the unload does not wait.
    [answer] = await finish(client.delete("/adapters/a"))
    assert answer.status_code == 200
    engine.between.opened.set()
    with pytest.raises(AdapterError, match="Adapter 'a' does not exist"):
        await engine.background
    assert engine.texts == engine.violations == []


async def test_background_task_can_keep_adapter_of_its_request(
    engine: TwiceEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await register(client, tmp_path, "one")
    (await client.post("/outlive", json={"model": "a"})).raise_for_status()
    assert engine.background is not None
    replaced = asyncio.create_task(register(client, tmp_path, "two", load_inplace=True))
    await finish(engine.between.reached.wait())
    await wait_until_unregistered(client)
    assert engine.texts == ["one", "two"]
    engine.between.opened.set()
    assert await finish(engine.background, replaced) == [["one", "one"], None]
    assert (engine.texts, engine.violations) == (["two"], [])


async def test_task_cancelled_before_start_releases_adapter(
    engine: TwiceEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await register(client, tmp_path, "one")
    asked = asyncio.create_task(client.post("/outlive", json={"model": "a"}))
    while engine.background is None:  # noqa: ASYNC110
        await asyncio.sleep(0)
    engine.background.cancel()
    _, answer = await finish(asked, client.delete("/adapters/a"))
    assert answer.status_code == 200
    assert engine.texts == []


async def test_first_use_during_replacement_is_answered_by_one_adapter(
    engine: TwiceEngine, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """The whole request uses either the old or the new adapter."""
    await register(client, tmp_path, "one", preload=False)
    gate = engine.gates["load"] = Gate()
    replaced = asyncio.create_task(register(client, tmp_path, "two", load_inplace=True))
    await finish(gate.reached.wait())
    request = asyncio.create_task(requester("/whole")(client))
    for _ in range(50):
        await asyncio.sleep(0)
    gate.opened.set()
    engine.between.opened.set()
    texts, _ = await finish(request, replaced)
    assert texts in (["one", "one"], ["two", "two"])
    assert (engine.texts, engine.violations) == (["two"], [])


def test_websocket_leases_per_computation(
    engine: TwiceEngine, app: FastAPI, tmp_path: Path
) -> None:
    src = write_adapter(tmp_path / "one", "one")
    with TestClient(app) as client, client.websocket_connect("/socket") as socket:
        client.post("/adapters", json={"name": "a", "src": src}).raise_for_status()
        socket.send_text("a")
        assert socket.receive_text() == "one"
        # The open connection does not hold the adapter.
        assert client.delete("/adapters/a").status_code == 200
        assert engine.texts == []
        socket.send_text("")
