"""Request ids: the client's or a new one, passed on to the engine."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any, Final

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.testclient import TestClient
from starlette.types import Receive, Scope, Send

import model_hosting_container_standards.sagemaker as sagemaker
from customised import app_with, client_with
from model_hosting_container_standards.request_id import REQUEST_ID, choose_id
from servers import run_until_exit

INFERENCE: Final = "X-Amzn-SageMaker-Inference-Id"
X: Final = "X-Request-Id"
ATTRIBUTES: Final = "X-Amzn-SageMaker-Custom-Attributes"


async def show_ids(request: Request) -> dict[str, Any]:
    """Return the id that log lines have, and the ids that the engine receives."""
    return {"log": REQUEST_ID.get(), "engine": request.headers.getlist(X)}


def client() -> TestClient:
    return client_with(show_ids)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({INFERENCE: "platform", X: "client"}, "platform"),
        ({INFERENCE: "platform"}, "platform"),
        ({X: "client"}, "client"),
        ({INFERENCE: "not an id", X: "client"}, "client"),
        ({INFERENCE: "", X: "client"}, "client"),
        ({INFERENCE: "x" * 64}, "x" * 64),
        ({INFERENCE: "!~%s%"}, "!~%s%"),
    ],
)
def test_platforms_id_takes_precedence_over_clients(
    headers: dict[str, str], expected: str
) -> None:
    answer = client().post("/invocations", headers=headers)
    assert answer.headers.get_list(X) == [expected]
    assert answer.json() == {"log": expected, "engine": [expected]}
    assert REQUEST_ID.get() is None


@pytest.mark.parametrize("bad", [b"", b"x" * 65, b"a b", b"caf\xc3\xa9", b"a\tb"])
@pytest.mark.parametrize("name", [INFERENCE, X])
def test_invalid_id_is_replaced(name: str, bad: bytes) -> None:
    answers = [
        client().post("/invocations", headers=[(name.encode(), bad)]) for _ in range(2)
    ]
    ids = [answer.headers[X] for answer in answers]
    assert all(re.fullmatch("[0-9a-f]{32}", found) for found in ids)
    assert ids[0] != ids[1]
    assert answers[0].json() == {"log": ids[0], "engine": [ids[0]]}


def test_engine_gets_one_of_several_ids() -> None:
    headers = [(X, "a"), (X, "b"), ("cookie", "1"), ("cookie", "2")]
    answer = client().post("/invocations", headers=headers)
    assert answer.headers[X] in "ab"
    assert answer.json()["engine"] == [answer.headers[X]]


def test_every_response_has_the_id_once() -> None:
    async def handler(request: Request) -> Response:
        return JSONResponse({}, headers={X: "the engine's"})

    async def fails(request: Request) -> None:
        raise RuntimeError("broken")

    app = app_with(handler)
    app.post("/fails")(fails)
    client = TestClient(app, raise_server_exceptions=False)
    for path, status in (
        ("/invocations", 200),
        ("/fails", 500),
        ("/unknown", 404),
        ("/openapi.json", 405),
    ):
        answer = client.post(path, headers={X: "client"})
        assert (answer.status_code, answer.headers.get_list(X)) == (status, ["client"])


def test_apps_messages_are_not_modified() -> None:
    """Messages and header lists may be shared by all requests."""
    start = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}
    end = {"type": "http.response.body", "body": b""}

    async def send_same(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start)
        await send(end)

    app = FastAPI()
    app.mount("/same", send_same)
    sagemaker.bootstrap(app)
    client = TestClient(app)
    for name in "xy":
        assert client.get("/same/", headers={X: name}).headers.get_list(X) == [name]
    assert start["headers"] == [(b"a", b"b")]

    headers = [(b"host", b"here"), (b"x-request-id", b"no id")]
    asyncio.run(ask(app, {"headers": headers}))
    assert headers == [(b"host", b"here"), (b"x-request-id", b"no id")]


async def ask(app: FastAPI, scope: dict[str, Any]) -> list[Any]:
    """Return the messages that are sent for a request with a partial scope."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    complete_scope = {
        "type": "http",
        "method": "GET",
        "path": "/same/",
        "root_path": "",
        "query_string": b"",
        "headers": [],
        **scope,
    }
    await app(complete_scope, receive, send)
    return sent


async def test_concurrent_requests_with_one_id_get_different_engine_ids() -> None:
    both_are_there = asyncio.Event()
    engine_ids: list[str] = []
    logged: list[str | None] = []

    async def wait(request: Request) -> Response:
        engine_ids.append(request.headers[X])
        logged.append(REQUEST_ID.get())
        if len(engine_ids) == 2:
            both_are_there.set()
        await asyncio.wait_for(both_are_there.wait(), 5)
        return Response()

    app = app_with(wait)
    scope = {
        "method": "POST",
        "path": "/invocations",
        "headers": [(INFERENCE.lower().encode(), b"same")],
    }
    answers = await asyncio.gather(*(ask(app, dict(scope)) for _ in range(2)))
    assert engine_ids[0] == "same"
    assert re.fullmatch("same-[0-9a-f]{8}", engine_ids[1])
    assert logged == ["same", "same"]
    for start, *_ in answers:
        assert dict(start["headers"])[b"x-request-id"] == b"same"
    # Both have ended: the id is free again.
    await ask(app, dict(scope))
    assert engine_ids[2] == "same"


@pytest.mark.parametrize("streams", [False, True])
def test_custom_attributes_of_handler_reach_client(streams: bool) -> None:
    async def handler(request: Request) -> Response:
        headers = {ATTRIBUTES: request.headers[ATTRIBUTES]}
        if streams:
            return StreamingResponse(iter([b"a", b"b"]), headers=headers)
        return Response(b"ab", headers=headers)

    answer = client_with(handler).post("/invocations", headers={ATTRIBUTES: "c=1"})
    assert (answer.content, answer.headers[ATTRIBUTES]) == (b"ab", "c=1")


def test_requests_rejected_by_middleware_have_an_id() -> None:
    async def throttle(request: Any, call_next: Any) -> Response:
        raise HTTPException(429, REQUEST_ID.get())

    answer = client_with(show_ids, throttle=throttle).get(
        "/ping", headers={X: "client"}
    )
    assert (answer.status_code, answer.json()["detail"]) == (429, "client")
    assert answer.headers[X] == "client"


def test_ids_are_added_to_an_app_that_is_already_running() -> None:
    app = FastAPI()
    app.post("/invocations")(show_ids)
    client = TestClient(app)
    assert X not in client.post("/invocations").headers
    sagemaker.bootstrap(app)
    answer = client.post("/invocations", headers={X: "client"})
    assert answer.headers[X] == "client"


def test_handlers_threads_have_the_id() -> None:
    def handler(request: Request) -> str | None:
        return REQUEST_ID.get()

    answer = client_with(handler).post("/invocations", headers={X: "client"})
    assert answer.json() == "client"


def test_new_ids_are_unique() -> None:
    ids = [choose_id(None, None) for _ in range(1000)]
    assert len({*ids}) == len(ids)
    assert {len(new) for new in ids} == {32}
    assert all(int(new, 16) for new in ids)


def test_forked_processes_have_ids_of_their_own() -> None:
    script = """
import os
from model_hosting_container_standards.request_id import choose_id
choose_id(None, None)
child = os.fork()
if child:
    os.waitpid(child, 0)
print(choose_id(None, None).decode(), flush=True)
"""
    done = run_until_exit([sys.executable, "-c", script])
    theirs, ours = done.stdout.split()
    assert theirs != ours
