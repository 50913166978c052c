"""``X-Amzn-SageMaker-Session-Id: NEW_SESSION`` with a body for the handler."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.testclient import TestClient
from starlette.types import Message

from invocations_app import NOT_ENABLED, SESSION, client_of, echo
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.sessions.manager import get_session_manager
from session_client import NEW, NEW_SESSION, ask, close, count, refusal
from session_engine import Engine

BEGIN: Final = {SESSION: "NEW_SESSION"}
VALUE: Final = re.compile(r"([0-9a-f-]{36}); Expires=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture
def sessions_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of SAGEMAKER_SESSIONS_PATH."""
    return tmp_path / "sessions"


async def remember(request: Request) -> Any:
    """Append the body to the session, and return all bodies so far."""
    sessions = get_session_manager()
    assert sessions is not None
    session = sessions.get_session(request.headers[SESSION])
    bodies = [*session.get("bodies", []), (await request.body()).decode()]
    session.put("bodies", bodies)
    return bodies


def customer_client(handler: Callable[..., Any]) -> TestClient:
    sagemaker.invoke(handler)
    return TestClient(sagemaker.bootstrap(FastAPI()), raise_server_exceptions=False)


def new_session_id(answer: Any) -> str:
    """Return the id of the new session, which both headers must contain."""
    value = answer.headers[SESSION]
    assert answer.headers.get_list(NEW_SESSION) == [value]
    assert answer.headers.get_list(SESSION) == [value]
    found = VALUE.fullmatch(value)
    assert found is not None
    return found[1]


def has_no_session(answer: Any, folder: Path) -> bool:
    is_reported = SESSION in answer.headers or NEW_SESSION in answer.headers
    return not is_reported and count(folder) == 0


# --- sessions on -------------------------------------------------------------------


@pytest.mark.parametrize("make", [customer_client, client_of])
@pytest.mark.parametrize("body", [b'{"turn": 1}', b"plain words", b"", b"[1, 2]"])
@pytest.mark.usefixtures("sessions_on")
def test_handler_answers_request_that_begins_session(
    make: Callable[..., TestClient], body: bytes
) -> None:
    client = make(remember)
    first = client.post("/invocations", content=body, headers=BEGIN)
    assert (first.status_code, first.json()) == (200, [body.decode()])
    session_id = new_session_id(first)
    second = client.post("/invocations", content=b"more", headers={SESSION: session_id})
    assert second.json() == [body.decode(), "more"]
    assert NEW_SESSION not in second.headers
    assert close(client, session_id).status_code == 200


@pytest.mark.usefixtures("sessions_on")
def test_each_request_begins_its_own_session(folder: Path) -> None:
    client = customer_client(remember)
    answers = [client.post("/invocations", json={}, headers=BEGIN) for _ in range(2)]
    assert len({new_session_id(answer) for answer in answers}) == count(folder) == 2


@pytest.mark.usefixtures("sessions_on")
def test_headers_arrive_with_first_chunk_of_stream() -> None:
    async def stream(request: Request) -> StreamingResponse:
        session_id = request.headers[SESSION]

        async def chunks() -> AsyncIterator[str]:
            yield session_id
            yield "!"

        return StreamingResponse(chunks(), media_type="text/event-stream")

    with customer_client(stream).stream(
        "POST", "/invocations", content=b"x", headers=BEGIN
    ) as answer:
        session_id = new_session_id(answer)
        assert "".join(answer.iter_text()) == f"{session_id}!"
        assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.usefixtures("sessions_on")
def test_new_id_is_written_into_configured_field() -> None:
    decorator = sagemaker.stateful_session_manager("lora.session")
    client = client_of(echo, decorator)
    answer = client.post("/invocations", json={"a": 1}, headers=BEGIN)
    assert (
        answer.json()["raw"]
        == f'{{"a":1,"lora":{{"session":"{new_session_id(answer)}"}}}}'
    )


@pytest.mark.usefixtures("sessions_on")
def test_session_headers_replace_handlers_own() -> None:
    async def set_headers() -> JSONResponse:
        headers = {SESSION: "handler's", NEW_SESSION: "handler's", "x-other": "kept"}
        return JSONResponse({}, headers=headers)

    answer = customer_client(set_headers).post("/invocations", json={}, headers=BEGIN)
    assert answer.headers["x-other"] == "kept"
    new_session_id(answer)


@pytest.mark.usefixtures("sessions_on")
def test_control_request_with_header_begins_one_session(folder: Path) -> None:
    client = customer_client(remember)
    answer = client.post("/invocations", json=NEW, headers=BEGIN)
    assert answer.text == f"Session {new_session_id(answer)} created"
    assert count(folder) == 1


# --- failures ----------------------------------------------------------------------


async def reject() -> None:
    raise HTTPException(422, "rejected")


async def return_503() -> JSONResponse:
    return JSONResponse({"error": "mine"}, status_code=503)


async def raise_error() -> None:
    raise RuntimeError("mine")


@pytest.mark.parametrize(
    ("handler", "status"), [(reject, 422), (return_503, 503), (raise_error, 500)]
)
@pytest.mark.usefixtures("sessions_on")
def test_failed_request_leaves_no_session(
    folder: Path, handler: Callable[..., Any], status: int
) -> None:
    answer = customer_client(handler).post("/invocations", json={}, headers=BEGIN)
    assert answer.status_code == status
    assert has_no_session(answer, folder)


@pytest.mark.usefixtures("sessions_on")
def test_no_session_is_left_if_id_cannot_be_written(folder: Path) -> None:
    client = client_of(echo, sagemaker.stateful_session_manager("session"))
    answer = client.post("/invocations", content=b"words", headers=BEGIN)
    assert answer.status_code == 400
    assert "needs a request body that is a JSON object" in answer.text
    assert has_no_session(answer, folder)


@pytest.mark.usefixtures("sessions_on")
def test_handler_may_close_the_new_session(folder: Path) -> None:
    async def end(request: Request) -> JSONResponse:
        sessions = get_session_manager()
        assert sessions is not None
        sessions.close_session(request.headers[SESSION])
        return JSONResponse({}, status_code=400)

    answer = customer_client(end).post("/invocations", json={}, headers=BEGIN)
    assert answer.status_code == 400
    assert has_no_session(answer, folder)


@pytest.mark.usefixtures("sessions_on")
async def test_client_that_disconnects_early_leaves_no_session(folder: Path) -> None:
    sagemaker.invoke(remember)
    app = sagemaker.bootstrap(FastAPI())
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/invocations",
        "raw_path": b"/invocations",
        "query_string": b"",
        "headers": [
            (SESSION.lower().encode(), b"NEW_SESSION"),
            (b"content-length", b"10000"),
        ],
    }
    await app(scope, receive, send)
    assert all(message.get("status", 400) >= 400 for message in sent)
    assert count(folder) == 0


# --- an engine's own sessions ------------------------------------------------------


@pytest.mark.usefixtures("sessions_on")
def test_engine_session_is_created_by_standard_request() -> None:
    engine = Engine({"id": "engine-7"})
    client = engine.client()
    answer = client.post("/invocations", json={"turn": 1}, headers=BEGIN)
    assert answer.json() == {"turn": 1, "engine": {"session": "engine-7"}}
    assert answer.headers[SESSION].startswith("engine-7; Expires=")
    assert [body for _, body in engine.asked] == [NEW]
    assert ask(client, "engine-7", {"turn": 2}).json()["turn"] == 2


@pytest.mark.usefixtures("sessions_on")
def test_engine_without_request_model_gets_same_request() -> None:
    asked = []

    async def create(raw_request: Request) -> Any:
        asked.append(await raw_request.json())
        # Checking for a disconnect must not consume the request.
        assert not await raw_request.is_disconnected()
        return {"id": "engine-8"}

    client = Engine().client(create=create)
    answer = client.post("/invocations", json={"turn": 1}, headers=BEGIN)
    assert answer.json() == {"turn": 1, "engine": {"session": "engine-8"}}
    assert asked == [NEW]


@pytest.mark.usefixtures("sessions_on")
def test_engines_refusal_does_not_reach_handler(folder: Path) -> None:
    engine = Engine(PlainTextResponse("full", status_code=503))
    answer = engine.client().post("/invocations", json={"turn": 1}, headers=BEGIN)
    assert (answer.status_code, answer.text) == (503, "full")
    assert has_no_session(answer, folder)


@pytest.mark.usefixtures("sessions_on")
def test_engine_session_is_closed_if_handler_fails(folder: Path) -> None:
    engine = Engine({"id": "engine-9"})
    client = engine.client()
    answer = client.post("/invocations", content=b"no json", headers=BEGIN)
    assert answer.status_code == 400
    assert has_no_session(answer, folder)
    assert [request.session_id for request, _ in engine.asked[1:]] == ["engine-9"]


# --- sessions off ------------------------------------------------------------------


@pytest.mark.parametrize("value", ["NEW_SESSION", "abc-1"])
def test_customers_handler_gets_header_and_body_without_sessions(value: str) -> None:
    async def own(request: Request) -> list[str]:
        return [request.headers[SESSION], (await request.body()).decode()]

    client = customer_client(own)
    answer = client.post("/invocations", content=b"own", headers={SESSION: value})
    assert (answer.status_code, answer.json()) == (200, [value, "own"])
    assert SESSION not in answer.headers


def test_handler_from_variable_gets_header_and_body_without_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUSTOM_FASTAPI_INVOCATION_HANDLER", f"{__file__}:echo")
    client = TestClient(sagemaker.bootstrap(FastAPI()))
    answer = client.post("/invocations", content=b"own", headers=BEGIN)
    assert answer.json()["raw"] == "own"


def test_engines_route_rejects_header_without_sessions() -> None:
    answer = client_of(echo).post("/invocations", content=b"own", headers=BEGIN)
    assert refusal(answer) == (400, NOT_ENABLED)


def test_path_handler_rejects_header_without_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUSTOM_FASTAPI_INVOCATION_HANDLER", "/v1/echo")
    app = FastAPI()
    app.post("/v1/echo")(echo)
    client = TestClient(sagemaker.bootstrap(app))
    answer = client.post("/invocations", content=b"own", headers=BEGIN)
    assert refusal(answer) == (400, NOT_ENABLED)


def test_control_request_is_rejected_without_sessions() -> None:
    answer = customer_client(echo).post("/invocations", json=NEW, headers=BEGIN)
    assert refusal(answer) == (400, NOT_ENABLED)
