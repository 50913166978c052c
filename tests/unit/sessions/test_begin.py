"""``X-Amzn-SageMaker-Session-Id: NEW_SESSION`` with a body of the container's own."""

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
    """The folder SAGEMAKER_SESSIONS_PATH names."""
    return tmp_path / "sessions"


async def remember(request: Request) -> Any:
    """Keep what the client says, and answer what it has said so far."""
    sessions = get_session_manager()
    assert sessions is not None
    session = sessions.get_session(request.headers[SESSION])
    said = [*session.get("said", []), (await request.body()).decode()]
    session.put("said", said)
    return said


def customers(handler: Callable[..., Any]) -> TestClient:
    sagemaker.invoke(handler)
    return TestClient(sagemaker.bootstrap(FastAPI()), raise_server_exceptions=False)


def begun(answer: Any) -> str:
    """Return the id of the session that an answer tells of, by both headers."""
    value = answer.headers[SESSION]
    assert answer.headers.get_list(NEW_SESSION) == [value]
    assert answer.headers.get_list(SESSION) == [value]
    found = VALUE.fullmatch(value)
    assert found is not None
    return found[1]


def has_begun_nothing(answer: Any, folder: Path) -> bool:
    told = SESSION in answer.headers or NEW_SESSION in answer.headers
    return not told and count(folder) == 0


# --- sessions on -------------------------------------------------------------------


@pytest.mark.parametrize("make", [customers, client_of])
@pytest.mark.parametrize("body", [b'{"turn": 1}', b"plain words", b"", b"[1, 2]"])
@pytest.mark.usefixtures("sessions_on")
def test_the_handler_answers_the_request_that_begins_a_session(
    make: Callable[..., TestClient], body: bytes
) -> None:
    client = make(remember)
    first = client.post("/invocations", content=body, headers=BEGIN)
    assert (first.status_code, first.json()) == (200, [body.decode()])
    session_id = begun(first)
    second = client.post("/invocations", content=b"more", headers={SESSION: session_id})
    assert second.json() == [body.decode(), "more"]
    assert NEW_SESSION not in second.headers
    assert close(client, session_id).status_code == 200


@pytest.mark.usefixtures("sessions_on")
def test_each_such_request_begins_one_of_its_own(folder: Path) -> None:
    client = customers(remember)
    answers = [client.post("/invocations", json={}, headers=BEGIN) for _ in range(2)]
    assert len({begun(answer) for answer in answers}) == count(folder) == 2


@pytest.mark.usefixtures("sessions_on")
def test_the_headers_come_with_the_first_chunk_of_a_stream() -> None:
    async def stream(request: Request) -> StreamingResponse:
        session_id = request.headers[SESSION]

        async def chunks() -> AsyncIterator[str]:
            yield session_id
            yield "!"

        return StreamingResponse(chunks(), media_type="text/event-stream")

    with customers(stream).stream(
        "POST", "/invocations", content=b"x", headers=BEGIN
    ) as answer:
        session_id = begun(answer)
        assert "".join(answer.iter_text()) == f"{session_id}!"
        assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.usefixtures("sessions_on")
def test_the_id_is_written_where_the_handler_wants_it() -> None:
    decorator = sagemaker.stateful_session_manager("lora.session")
    client = client_of(echo, decorator)
    answer = client.post("/invocations", json={"a": 1}, headers=BEGIN)
    assert answer.json()["raw"] == f'{{"a":1,"lora":{{"session":"{begun(answer)}"}}}}'


@pytest.mark.usefixtures("sessions_on")
def test_a_handlers_own_headers_of_that_name_give_way() -> None:
    async def claim() -> JSONResponse:
        headers = {SESSION: "mine", NEW_SESSION: "mine", "x-mine": "kept"}
        return JSONResponse({}, headers=headers)

    answer = customers(claim).post("/invocations", json={}, headers=BEGIN)
    assert answer.headers["x-mine"] == "kept"
    begun(answer)


@pytest.mark.usefixtures("sessions_on")
def test_a_control_request_with_the_header_begins_one_session(folder: Path) -> None:
    client = customers(remember)
    answer = client.post("/invocations", json=NEW, headers=BEGIN)
    assert answer.text == f"Session {begun(answer)} created"
    assert count(folder) == 1


# --- where it fails ----------------------------------------------------------------


async def refuse() -> None:
    raise HTTPException(422, "not so")


async def answer_badly() -> JSONResponse:
    return JSONResponse({"error": "mine"}, status_code=503)


async def raise_an_error() -> None:
    raise RuntimeError("mine")


@pytest.mark.parametrize(
    ("handler", "status"), [(refuse, 422), (answer_badly, 503), (raise_an_error, 500)]
)
@pytest.mark.usefixtures("sessions_on")
def test_no_session_is_left_of_a_request_that_failed(
    folder: Path, handler: Callable[..., Any], status: int
) -> None:
    answer = customers(handler).post("/invocations", json={}, headers=BEGIN)
    assert answer.status_code == status
    assert has_begun_nothing(answer, folder)


@pytest.mark.usefixtures("sessions_on")
def test_no_session_is_left_where_the_id_does_not_fit(folder: Path) -> None:
    client = client_of(echo, sagemaker.stateful_session_manager("session"))
    answer = client.post("/invocations", content=b"words", headers=BEGIN)
    assert answer.status_code == 400
    assert "needs a request body that is a JSON object" in answer.text
    assert has_begun_nothing(answer, folder)


@pytest.mark.usefixtures("sessions_on")
def test_a_handler_may_end_the_session_that_it_was_to_begin(folder: Path) -> None:
    async def end(request: Request) -> JSONResponse:
        sessions = get_session_manager()
        assert sessions is not None
        sessions.close_session(request.headers[SESSION])
        return JSONResponse({}, status_code=400)

    answer = customers(end).post("/invocations", json={}, headers=BEGIN)
    assert answer.status_code == 400
    assert has_begun_nothing(answer, folder)


@pytest.mark.usefixtures("sessions_on")
async def test_a_client_that_leaves_early_leaves_no_session(folder: Path) -> None:
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
def test_the_engine_begins_its_own_by_a_request_of_ours() -> None:
    engine = Engine({"id": "engine-7"})
    client = engine.client()
    answer = client.post("/invocations", json={"turn": 1}, headers=BEGIN)
    assert answer.json() == {"turn": 1, "engine": {"session": "engine-7"}}
    assert answer.headers[SESSION].startswith("engine-7; Expires=")
    assert [body for _, body in engine.asked] == [NEW]
    assert ask(client, "engine-7", {"turn": 2}).json()["turn"] == 2


@pytest.mark.usefixtures("sessions_on")
def test_an_engine_without_a_request_model_gets_the_same() -> None:
    asked = []

    async def create(raw_request: Request) -> Any:
        asked.append(await raw_request.json())
        # It may look whether the client is there, which costs its request nothing.
        assert not await raw_request.is_disconnected()
        return {"id": "engine-8"}

    client = Engine().client(create=create)
    answer = client.post("/invocations", json={"turn": 1}, headers=BEGIN)
    assert answer.json() == {"turn": 1, "engine": {"session": "engine-8"}}
    assert asked == [NEW]


@pytest.mark.usefixtures("sessions_on")
def test_what_the_engine_refuses_does_not_reach_the_handler(folder: Path) -> None:
    engine = Engine(PlainTextResponse("full", status_code=503))
    answer = engine.client().post("/invocations", json={"turn": 1}, headers=BEGIN)
    assert (answer.status_code, answer.text) == (503, "full")
    assert has_begun_nothing(answer, folder)


@pytest.mark.usefixtures("sessions_on")
def test_the_engine_ends_its_own_where_the_handler_failed(folder: Path) -> None:
    engine = Engine({"id": "engine-9"})
    client = engine.client()
    answer = client.post("/invocations", content=b"no json", headers=BEGIN)
    assert answer.status_code == 400
    assert has_begun_nothing(answer, folder)
    assert [request.session_id for request, _ in engine.asked[1:]] == ["engine-9"]


# --- sessions off ------------------------------------------------------------------


@pytest.mark.parametrize("value", ["NEW_SESSION", "abc-1"])
def test_without_sessions_a_customers_handler_gets_header_and_body(value: str) -> None:
    async def own(request: Request) -> list[str]:
        return [request.headers[SESSION], (await request.body()).decode()]

    client = customers(own)
    answer = client.post("/invocations", content=b"own", headers={SESSION: value})
    assert (answer.status_code, answer.json()) == (200, [value, "own"])
    assert SESSION not in answer.headers


def test_without_sessions_a_customer_by_variable_gets_them_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUSTOM_FASTAPI_INVOCATION_HANDLER", f"{__file__}:echo")
    client = TestClient(sagemaker.bootstrap(FastAPI()))
    answer = client.post("/invocations", content=b"own", headers=BEGIN)
    assert answer.json()["raw"] == "own"


def test_without_sessions_an_engines_route_refuses_the_header() -> None:
    answer = client_of(echo).post("/invocations", content=b"own", headers=BEGIN)
    assert refusal(answer) == (400, NOT_ENABLED)


def test_without_sessions_a_route_that_a_customer_names_refuses_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUSTOM_FASTAPI_INVOCATION_HANDLER", "/v1/echo")
    app = FastAPI()
    app.post("/v1/echo")(echo)
    client = TestClient(sagemaker.bootstrap(app))
    answer = client.post("/invocations", content=b"own", headers=BEGIN)
    assert refusal(answer) == (400, NOT_ENABLED)


def test_without_sessions_a_control_request_is_refused_whoever_answers() -> None:
    answer = customers(echo).post("/invocations", json=NEW, headers=BEGIN)
    assert refusal(answer) == (400, NOT_ENABLED)
