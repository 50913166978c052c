"""Bidirectional streams on a real server, with a real client of WebSockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from metrics_page import scrape
from servers import Server, polling
from supervised import SUPERVISOR

ROUTE: Final = "/invocations-bidirectional-stream"
#: The longest message that the server takes, in bytes.
LONGEST: Final = 100_000
#: A conversation that takes longer is considered hung.
PATIENCE_S: Final = 60.0
#: Echoes; a message may ask it to fail, to stay, or to answer by another error.
APP: Final = """
import asyncio
import json

from fastapi import FastAPI, HTTPException, WebSocket

from model_hosting_container_standards import sagemaker

app = FastAPI()


@app.get("/ping")
async def ping():
    return "well"


@app.post("/invocations")
async def invocations():
    return "done"


@sagemaker.stream
async def stream(websocket: WebSocket):
    await websocket.accept()
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        if (text := message.get("text")) is None:
            await websocket.send_bytes(message["bytes"])
        elif text == "fail":
            raise KeyError("secret")
        elif text == "refuse":
            raise HTTPException(400, "secret")
        elif text == "return":
            return
        elif text == "stay":
            await asyncio.Event().wait()
        elif text == "close late":
            try:
                await asyncio.Event().wait()
            finally:
                await websocket.close(1000)
        elif text == "hold on":
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    pass
        else:
            await websocket.send_text(text)


sagemaker.bootstrap(app)
"""
#: Code before the app, which shortens the total time that a shutdown may take.
IMPATIENT: Final = """
from model_hosting_container_standards.shutdown import graceful_shutdown

graceful_shutdown._ALL_S = 3.0
graceful_shutdown._ENGINE_S = 0.5
"""
UVICORN: Final = (
    *(sys.executable, "-m", "uvicorn", "app:app", "--log-level=warning"),
    f"--ws-max-size={LONGEST}",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def serve(
    folder: Path, *options: str, under: Any = (), seconds: int = 30, **env: str
) -> Server:
    env = {
        "SAGEMAKER_MODEL_PATH": str(folder / "none"),
        "MHCS_DRAIN_SECONDS": str(seconds),
        **env,
    }
    return Server([*under, *UVICORN, *options], env, folder, "/ping")


@pytest.fixture
def server(request: pytest.FixtureRequest, folder: Path) -> Iterator[Server]:
    options = getattr(request, "param", {})
    with serve(folder, **options) as server:
        yield server


def stream(server: Server, path: str = ROUTE, **options: Any) -> connect:
    url = f"ws://127.0.0.1:{server.port}{path}"
    return connect(url, proxy=None, max_size=None, **options)


def run(talk: Callable[..., Awaitable[None]], *args: Any) -> None:
    async def run() -> None:
        await asyncio.wait_for(talk(*args), PATIENCE_S)

    asyncio.run(run())


async def closing(websocket: ClientConnection) -> tuple[int, str]:
    """Return the code and the reason by which the server closes."""
    with pytest.raises(ConnectionClosed) as closed:
        await websocket.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


async def opened(server: Server, stack: contextlib.AsyncExitStack) -> ClientConnection:
    websocket = await stack.enter_async_context(stream(server))
    await websocket.send("hello")
    assert await websocket.recv() == "hello"
    return websocket


def in_flight(server: Server) -> float:
    """Return how many requests are served, without that for the page."""
    return scrape(server.client).value("sagemaker_requests_in_flight") - 1


def counts(server: Server, *statuses: str) -> list[float]:
    """Return how many streams have ended by each status, once none is open."""
    for _ in polling(10):
        if in_flight(server) == 0:
            break
    labels = {"route": ROUTE, "method": "WEBSOCKET"}
    page = scrape(server.client)
    name = "sagemaker_requests_total"
    return [page.value(name, **labels, status=status) for status in statuses]


def begin_shutdown(server: Server) -> None:
    os.kill(server.pid, signal.SIGTERM)
    for _ in polling(30):
        if server.client.get("/ping").status_code == 503:
            return
    raise AssertionError("/ping still answers 200.")


# --- messages ------------------------------------------------------------------------


@pytest.mark.parametrize("server", [{"seconds": 1}], indirect=True)
def test_thousand_messages_both_ways_and_a_shutdown(server: Server) -> None:
    messages = [f"message {n}" if n % 2 else b"%d" % n for n in range(1000)]

    async def talk() -> None:
        async with stream(server) as websocket:

            async def send() -> None:
                for message in messages:
                    await websocket.send(message)

            sending = asyncio.create_task(send())
            assert [await websocket.recv() for _ in messages] == messages
            await sending
            assert in_flight(server) == 1
            os.kill(server.pid, signal.SIGTERM)
            reason = "This server is shutting down."
            assert await closing(websocket) == (1012, reason)

    run(talk)
    assert server.wait(10) == -signal.SIGTERM


def test_messages_of_any_length_up_to_the_servers_limit(server: Server) -> None:
    async def talk() -> None:
        async with contextlib.AsyncExitStack() as stack:
            websocket, other = [await opened(server, stack) for _ in range(2)]
            for message in ("", b"", "é" * (LONGEST // 2), b"\xff" * LONGEST):
                await websocket.send(message)
                assert await websocket.recv() == message
            await websocket.send(["in ", "several ", "frames"])
            assert await websocket.recv() == "in several frames"
            await websocket.send(b"x" * (LONGEST + 1))
            assert (await closing(websocket))[0] == 1009
            await other.send("still here")
            assert await other.recv() == "still here"

    run(talk)


def test_server_answers_pings(server: Server) -> None:
    async def talk() -> None:
        async with stream(server, ping_interval=None) as websocket:
            pong = await websocket.ping(b"sagemaker")
            assert await pong >= 0

    run(talk)


# --- the end -------------------------------------------------------------------------


@pytest.mark.parametrize("error", ["fail", "refuse"])
def test_failed_handler_closes_with_1011_and_traceback_in_log(
    server: Server, error: str
) -> None:
    async def talk() -> None:
        async with stream(server) as websocket:
            await websocket.send(error)
            expected = (1011, "Internal Server Error")
            assert await closing(websocket) == expected
            # The next connection is served.
        async with contextlib.AsyncExitStack() as stack:
            await opened(server, stack)

    run(talk)
    assert "Traceback" in server.stderr()


def test_handler_that_returns_closes_with_1000(server: Server) -> None:
    async def talk() -> None:
        async with stream(server) as websocket:
            await websocket.send("return")
            assert (await closing(websocket))[0] == 1000

    run(talk)


@pytest.mark.parametrize("how", ["close", "abort"])
def test_client_that_leaves_is_forgotten_without_an_error(
    server: Server, how: str
) -> None:
    async def talk() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for websocket in [await opened(server, stack) for _ in range(3)]:
                if how == "close":
                    await websocket.close()
                else:
                    websocket.transport.abort()

    run(talk)
    assert counts(server, "101", "499", "500") == [3, 0, 0]
    assert in_flight(server) == 0
    assert server.output() == ""


# --- a shutdown ----------------------------------------------------------------------


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_open_streams_go_on_during_a_shutdown(folder: Path, loop: str) -> None:
    async def talk(server: Server) -> None:
        async with contextlib.AsyncExitStack() as stack:
            websockets = [await opened(server, stack) for _ in range(20)]
            begin_shutdown(server)
            with pytest.raises(InvalidStatus) as refused:
                await stack.enter_async_context(stream(server))
            response = refused.value.response
            assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
            assert b"shutting down" in response.body
            for websocket in websockets:
                await websocket.send("more")
                assert await websocket.recv() == "more"
                await websocket.close()

    with serve(folder, f"--loop={loop}") as server:
        run(talk, server)
        # Nothing is open any more: it does not wait for the deadline.
        assert server.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize("library", ["websockets", "websockets-sansio"])
def test_every_open_stream_is_closed_at_the_deadline(
    folder: Path, library: str
) -> None:
    async def talk(server: Server) -> None:
        async with contextlib.AsyncExitStack() as stack:
            websockets = [await opened(server, stack) for _ in range(20)]
            for websocket in websockets[::2]:
                await websocket.send("stay")
            for websocket in websockets[1::4]:
                await websocket.send("close late")
            os.kill(server.pid, signal.SIGTERM)
            ends = await asyncio.gather(*map(closing, websockets))
            assert {*ends} == {(1012, "This server is shutting down.")}

    with serve(folder, f"--ws={library}", seconds=1) as server:
        run(talk, server)
        assert server.wait(10) == -signal.SIGTERM
        assert "Traceback" not in server.output()


def test_handler_that_holds_on_does_not_keep_the_server(folder: Path) -> None:
    (folder / "app.py").write_text(IMPATIENT + APP)

    async def talk(server: Server) -> None:
        async with stream(server) as websocket:
            await websocket.send("hold on")
            os.kill(server.pid, signal.SIGTERM)
            assert (await closing(websocket))[0] == 1012

    with serve(folder, seconds=1) as server:
        run(talk, server)
        assert server.wait(20) == -signal.SIGKILL


def test_supervisor_lets_streams_finish(folder: Path) -> None:
    async def talk(server: Server) -> None:
        async with contextlib.AsyncExitStack() as stack:
            websocket = await opened(server, stack)
            begin_shutdown(server)
            await websocket.send("more")
            assert await websocket.recv() == "more"

    with serve(folder, under=[SUPERVISOR]) as server:
        run(talk, server)
        assert server.wait(20) == 128 + signal.SIGTERM


# --- the key -------------------------------------------------------------------------


@pytest.mark.parametrize("server", [{"MHCS_API_KEY": "k3y"}], indirect=True)
def test_handshake_needs_the_key(server: Server) -> None:
    async def talk() -> None:
        for headers in ({}, {"Authorization": "Bearer other"}):
            with pytest.raises(InvalidStatus) as refused:
                async with stream(server, additional_headers=headers):
                    pass
            assert refused.value.response.status_code == 401
            assert b"Authorization: Bearer KEY" in refused.value.response.body
        headers = {"Authorization": "Bearer k3y"}
        async with stream(server, additional_headers=headers) as websocket:
            assert websocket.response is not None
            assert "X-Request-Id" in websocket.response.headers

    run(talk)
    assert counts(server, "401", "101") == [2, 1]
