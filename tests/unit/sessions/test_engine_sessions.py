"""Engines with sessions of their own: their ids and responses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.testclient import TestClient
from pydantic import BaseModel

from invocations_app import SESSION
from session_client import CLOSE, NEW, ask, begin, close, count, not_found, refusal
from session_engine import Engine


@pytest.fixture(autouse=True)
def sessions_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of SAGEMAKER_SESSIONS_PATH."""
    return tmp_path / "sessions"


# --- ids ------------------------------------------------------------------------------

KEPT = {
    "text": "abc-1",
    "longest": "a" * 256,
    "number": 42,
    "zero": 0,
    "true": True,
    "false": False,
}
REPLACED = {
    "slash": "a/b",
    "parent": "..",
    "underscore": "x_y",
    "unicode": "caf\u00e9",
    "lines": "a\r\nX-Evil: 1",
    "newline last": "a\n",
    "null": "a\0b",
    "too long": "a" * 257,
    "very long": "a/" * 50_000,
    "empty": "",
    "space": " ",
    "fraction": 1.5,
    "large": 1e300,
    "negative": -7,
}


@pytest.mark.parametrize("name", [*KEPT, *REPLACED])
def test_engine_gets_its_own_id_back(name: str) -> None:
    engine_id = {**KEPT, **REPLACED}[name]
    engine = Engine({"id": engine_id})
    client = engine.client()
    session_id = begin(client)  # begin() checks that the id is legal.
    if name in KEPT:
        text = engine_id if isinstance(engine_id, str) else json.dumps(engine_id)
        assert session_id == text
    got = ask(client, session_id).json()["engine"]["session"]
    assert (type(got), got) == (type(engine_id), engine_id)
    closed = close(client, session_id)
    assert (closed.status_code, closed.text) == (200, f"Session {session_id} closed")
    received = engine.asked[-1][0].session_id
    assert (type(received), received) == (type(engine_id), engine_id)
    assert refusal(ask(client, session_id)) == not_found(session_id)


def test_illegal_ids_are_replaced_by_unique_ones() -> None:
    engine = Engine()
    client = engine.client()
    replaced = {}
    for engine_id in ("a/b", "a_b", "a.b"):
        engine.answer = {"id": engine_id}
        replaced[begin(client)] = engine_id
    assert len(replaced) == 3
    for session_id, engine_id in replaced.items():
        assert ask(client, session_id).json() == {"engine": {"session": engine_id}}


def test_repeated_engine_id_is_a_new_session(folder: Path) -> None:
    engine = Engine({"id": 1})
    client = engine.client()
    assert begin(client) == begin(client) == "1"
    assert ask(client, "1").json() == {"engine": {"session": 1}}
    engine.answer = {"id": "1"}
    begin(client)
    assert ask(client, "1").json() == {"engine": {"session": "1"}}
    assert count(folder) == 1


# --- finding the id -------------------------------------------------------------------


class Opened(BaseModel):
    id: str
    body: str = "a field of this name hides nothing"


ANSWERS: dict[str, tuple[str, Any]] = {
    "dict": ("id", {"id": "abc"}),
    "prefix": ("body.id", {"id": "abc"}),
    "nested": ("body.a.b", {"a": {"b": "abc"}}),
    "nested, no prefix": ("a.b", {"a": {"b": "abc"}}),
    "list": ("body.sessions[-1].id", {"sessions": [{"id": "x"}, {"id": "abc"}]}),
    "list alone": ("body[0]", ["abc"]),
    "filter": ("ids[?new] | [0].id", {"ids": [{"id": "x"}, {"id": "abc", "new": 1}]}),
    "quoted": ('"the id"', {"the id": "abc"}),
    "itself": ("body", "abc"),
    "a model": ("id", Opened(id="abc")),
    "a response": ("id", JSONResponse({"id": "abc"})),
    "created": ("id", JSONResponse({"id": "abc"}, status_code=201)),
    "accepted": ("body.id", JSONResponse({"id": "abc"}, status_code=202)),
    "a response that is it": ("body", JSONResponse("abc")),
    "a text that is it": ("body", PlainTextResponse("abc")),
    "json of another type": ("id", PlainTextResponse('{"id": "abc"}')),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_id_is_found_in_engines_response(name: str) -> None:
    path, answer = ANSWERS[name]
    client = Engine(answer).client(path)
    assert begin(client) == "abc"
    assert ask(client, "abc").json() == {"engine": {"session": "abc"}}


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("id", {}),
        ("id", {"id": None}),
        ("id", {"id": {"a": 1}}),
        ("id", {"id": ["abc"]}),
        ("id", None),
        ("id", "abc"),
        ("body", None),
        ("body", Response(status_code=204)),
        ("body.a.id", {"a": "abc"}),
        ("join('-', ids)", {}),
    ],
)
def test_response_without_id_is_an_error(path: str, answer: Any, folder: Path) -> None:
    app = Engine(answer).client(path).app
    client = TestClient(app, raise_server_exceptions=False)
    refused = client.post("/invocations", json=NEW)
    assert refused.status_code == 424
    assert "no id" in refused.json()["detail"]
    assert SESSION not in refused.headers
    assert count(folder) == 0


# --- errors of the engine -------------------------------------------------------------


REFUSALS: dict[str, tuple[int, Any]] = {
    "client's fault": (400, JSONResponse({"id": "abc", "why": "no"}, status_code=400)),
    "full": (503, PlainTextResponse("full", 503, headers={"Retry-After": "3"})),
    "elsewhere": (307, Response(status_code=307, headers={"Location": "/x"})),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_engines_error_responses_are_passed_through(name: str, folder: Path) -> None:
    status, refused = REFUSALS[name]
    engine = Engine(refused, refused)
    client = engine.client()
    client.follow_redirects = False
    for wanted in (NEW, CLOSE):
        headers = {}
        if wanted == CLOSE:
            engine.answer = {"id": "abc"}
            headers[SESSION] = begin(client)
        answer = client.post("/invocations", json=wanted, headers=headers)
        assert (answer.status_code, answer.content) == (status, refused.body)
        assert dict(refused.headers).items() <= dict(answer.headers).items()
        assert SESSION not in answer.headers
        # No session was created or closed.
        assert count(folder) == (wanted == CLOSE)
    assert ask(client, "abc").status_code == 200
    engine.closed = None
    assert close(client, "abc").status_code == 200


def test_engines_exceptions_are_passed_through(folder: Path) -> None:
    refuses = True

    async def create(raw_request: Request) -> Any:
        if refuses:
            raise HTTPException(409, "busy")
        return {"id": "abc"}

    def end(raw_request: Request) -> None:
        if refuses:
            raise HTTPException(410, "not now")

    client = Engine().client("id", create, end)
    assert refusal(client.post("/invocations", json=NEW)) == (409, "busy")
    assert count(folder) == 0
    refuses = False
    begin(client)
    refuses = True
    assert refusal(close(client, "abc")) == (410, "not now")
    assert ask(client, "abc").status_code == 200


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_success_status_closes_session(status: int, folder: Path) -> None:
    client = Engine({"id": "abc"}, Response(status_code=status)).client()
    closed = close(client, begin(client))
    assert (closed.status_code, closed.text) == (200, "Session abc closed")
    assert count(folder) == 0


@pytest.mark.parametrize("answer", [None, False, {"error": "x"}, "no"])
def test_any_result_that_is_not_a_response_closes_session(
    answer: Any, folder: Path
) -> None:
    client = Engine({"id": "abc"}, answer).client()
    assert close(client, begin(client)).status_code == 200
    assert count(folder) == 0
