"""Bodies of requests in a session: the id is written into the configured field."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.testclient import TestClient

from invocations_app import ADAPTER, SESSION, client_of, echo, parse, take_model
from model_hosting_container_standards import sagemaker
from session_client import ask, begin, refusal


@pytest.fixture(autouse=True)
def sessions_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")


# --- nothing is written ---------------------------------------------------------------

BODIES: Final = {
    "json": (b'{ "model" : null,\n "b":1.0 }', "application/json"),
    "broken json": (b'{"a": ', "application/json"),
    "fifty megabytes": (b'{"a": "' + b"x" * 50_000_000 + b'"}', "application/json"),
    "gzip": (gzip.compress(b'{"requestType": "CLOSE"}'), "application/json"),
    "audio": (bytes(range(256)) * 64, "audio/wav"),
    "nothing": (b"", "text/plain"),
    "no type": (b"raw", None),
    "a control word": (b'{"prompt": "say \\"requestType\\""}', "application/json"),
    "one further down": (b'[{"requestType": "CLOSE"}]', "application/json"),
    "a long control request": (
        b'{"requestType": "CLOSE"' + b" " * 5000 + b"}",
        "application/json",
    ),
}


async def summarise(raw_request: Request) -> dict[str, Any]:
    """Return a summary of the request instead of its whole body."""
    raw = await raw_request.body()
    headers = raw_request.headers
    received_bodies.append(raw)
    return {name: headers.get(name) for name in ("content-type", "content-length")}


received_bodies: Final[list[bytes]] = []


@pytest.fixture
def seen() -> Iterator[list[bytes]]:
    yield received_bodies
    received_bodies.clear()


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("in_session", [True, False])
@pytest.mark.parametrize("as_customer", [True, False])
def test_any_body_of_any_type_reaches_handler(
    seen: list[bytes], name: str, in_session: bool, as_customer: bool
) -> None:
    raw, content_type = BODIES[name]
    if as_customer:
        sagemaker.invoke(summarise)
        client = TestClient(sagemaker.bootstrap(FastAPI()))
    else:
        client = client_of(summarise, sagemaker.stateful_session_manager())
    headers = {"content-type": content_type} if content_type else {}
    if in_session:
        headers[SESSION] = begin(client)
    answer = client.post("/invocations", content=raw, headers=headers)
    length = str(len(raw))
    assert answer.json() == {"content-type": content_type, "content-length": length}
    assert seen == [raw]


@pytest.mark.parametrize("piece", [b"{", b'{"requestType": "CLOSE"', b"x" * 65_536])
def test_chunked_body_reaches_handler(seen: list[bytes], piece: bytes) -> None:
    client = client_of(summarise)
    answer = client.post(
        "/invocations", content=iter([piece] * 100), headers={SESSION: begin(client)}
    )
    assert answer.json()["content-length"] is None
    assert seen == [piece * 100]


def test_uploaded_form_reaches_handler(seen: list[bytes]) -> None:
    client = client_of(summarise)
    answer = client.post(
        "/invocations",
        files={"file": ("a.wav", bytes(range(256)) * 1000, "audio/wav")},
        data={"text": '{"requestType": "CLOSE"}'},
        headers={SESSION: begin(client)},
    )
    sent = answer.request
    assert answer.json()["content-type"] == sent.headers["content-type"]
    assert seen == [sent.read()]
    assert len(seen[0]) > 256_000


def test_nothing_is_written_without_session() -> None:
    client = client_of(echo, sagemaker.stateful_session_manager("session"))
    for raw in (b'{ "session" : 1 }', b"no json", b"[1]"):
        answer = client.post("/invocations", content=raw).json()
        assert answer["raw"].encode() == raw


# --- the id is written ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("session", {}, {"session": "ID"}),
        ("body.session", {"a": [1.5]}, {"a": [1.5], "session": "ID"}),
        ("session", {"session": "client's"}, {"session": "ID"}),
        ("a.b.c", {}, {"a": {"b": {"c": "ID"}}}),
        ("a.b", {"a": {"x": None}}, {"a": {"x": None, "b": "ID"}}),
        ("a.b", {"a": {"b": {"c": 1}}}, {"a": {"b": "ID"}}),
    ],
)
def test_id_is_written_into_field(path: str, body: Any, expected: Any) -> None:
    client = client_of(parse, sagemaker.stateful_session_manager(path))
    session_id = begin(client)
    text = json.dumps(ask(client, session_id, body).json())
    assert json.loads(text.replace(session_id, "ID")) == expected


def test_id_is_present_however_body_is_read() -> None:
    decorate = sagemaker.stateful_session_manager("model")
    client = client_of(take_model, decorate)
    session_id = begin(client)
    taken = ask(client, session_id, {"prompt": "p"}).json()
    assert taken["field"] == taken["json"]["model"] == session_id
    client = client_of(echo, decorate)
    session_id = begin(client)
    raw = ask(client, session_id, {"prompt": "p"}).json()["raw"]
    assert json.loads(raw) == {"prompt": "p", "model": session_id}


def test_customers_handler_gets_id() -> None:
    sagemaker.invoke(sagemaker.stateful_session_manager("session")(parse))
    client = TestClient(sagemaker.bootstrap(FastAPI()))
    session_id = begin(client)
    assert ask(client, session_id).json() == {"session": session_id}


@pytest.mark.parametrize("session_first", [True, False])
def test_session_and_adapter_are_both_written_into_body(session_first: bool) -> None:
    decorators = [
        sagemaker.stateful_session_manager("options.session"),
        sagemaker.inject_adapter_id("options.model", append=True, separator=":"),
    ]
    handler = echo
    client = client_of(handler, *decorators[:: 1 if session_first else -1])
    session_id = begin(client)
    body = {"prompt": "p", "options": {"model": "base", "x": 1}}
    answers = [
        client.post("/invocations", json=body, headers=headers).json()["raw"]
        for headers in (
            {SESSION: session_id, ADAPTER: "mine"},
            {SESSION: session_id},
            {ADAPTER: "mine"},
        )
    ]
    options = [json.loads(raw).pop("options") for raw in answers]
    assert options == [
        {"model": "base:mine", "x": 1, "session": session_id},
        {"model": "base", "x": 1, "session": session_id},
        {"model": "base:mine", "x": 1},
    ]


def test_decorator_may_be_above_registration() -> None:
    app, router = FastAPI(), APIRouter()
    registered = sagemaker.register_invocation_handler(parse)
    endpoint = sagemaker.stateful_session_manager("session")(registered)
    router.post("/invocations")(endpoint)
    app.include_router(router)
    client = TestClient(sagemaker.bootstrap(app))
    session_id = begin(client)
    assert ask(client, session_id).json() == {"session": session_id}


@pytest.mark.parametrize(
    "raw", [b"[1]", b"no json", b"", b"\xff\xfe", b'"text"', b"[" * 100_000]
)
def test_body_without_fields_is_rejected(raw: bytes) -> None:
    client = client_of(parse, sagemaker.stateful_session_manager("session"))
    headers = {SESSION: begin(client)}
    answer = client.post("/invocations", content=raw, headers=headers)
    status, detail = refusal(answer)
    assert status == 400
    assert detail == f"{SESSION} needs a request body that is a JSON object."


def test_parent_that_is_not_an_object_is_rejected() -> None:
    client = client_of(parse, sagemaker.stateful_session_manager("a.session"))
    status, detail = refusal(ask(client, begin(client), {"a": [1]}))
    assert status == 400
    assert "'a.session'" in detail


def test_unknown_session_is_reported_before_body_is_checked() -> None:
    client = client_of(parse, sagemaker.stateful_session_manager("session"))
    answer = client.post("/invocations", content=b"[1]", headers={SESSION: "unknown"})
    assert refusal(answer)[1] == "Bad request: session not found: unknown"


@pytest.mark.parametrize("path", ["", ".", "a..b", ".a", "a.", "body.", 7, ["a"]])
def test_invalid_path_is_a_value_error(path: Any) -> None:
    with pytest.raises(ValueError, match="session"):
        sagemaker.stateful_session_manager(path)
