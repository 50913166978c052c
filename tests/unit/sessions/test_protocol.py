"""The protocol of sessions, for every kind of handler."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from invocations_app import NOT_ENABLED, SESSION, client_of
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.sessions.manager import get_session_manager
from session_client import (
    CLOSE,
    CLOSED_SESSION,
    NEW,
    NEW_SESSION,
    Clock,
    ask,
    begin,
    close,
    content,
    count,
    not_found,
    refusal,
)


@pytest.fixture(autouse=True)
def sessions_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of SAGEMAKER_SESSIONS_PATH."""
    return tmp_path / "sessions"


async def remember(request: Request) -> Any:
    """Append the body to the session, and return all bodies so far."""
    sessions = get_session_manager()
    session_id = request.headers.get(SESSION)
    if sessions is None or session_id is None:
        return None
    session = sessions.get_session(session_id)
    bodies = [*session.get("bodies", []), await request.json()]
    session.put("bodies", bodies)
    return bodies


def undecorated(patch: pytest.MonkeyPatch) -> TestClient:
    return client_of(remember)


def decorated(patch: pytest.MonkeyPatch) -> TestClient:
    return client_of(remember, sagemaker.stateful_session_manager())


def plain_route(patch: pytest.MonkeyPatch) -> TestClient:
    app = FastAPI()
    app.post("/invocations")(remember)
    return TestClient(sagemaker.bootstrap(app))


def by_customer(patch: pytest.MonkeyPatch) -> TestClient:
    sagemaker.invoke(remember)
    return TestClient(sagemaker.bootstrap(FastAPI()))


def by_customer_decorated(patch: pytest.MonkeyPatch) -> TestClient:
    sagemaker.invoke(sagemaker.stateful_session_manager()(remember))
    return TestClient(sagemaker.bootstrap(FastAPI()))


def by_spec(patch: pytest.MonkeyPatch) -> TestClient:
    patch.setenv("CUSTOM_FASTAPI_INVOCATION_HANDLER", f"{__file__}:remember")
    return TestClient(sagemaker.bootstrap(FastAPI()))


@pytest.fixture
def client() -> TestClient:
    return client_of(remember)


@pytest.mark.parametrize(
    "make_client",
    [undecorated, decorated, plain_route, by_customer, by_customer_decorated, by_spec],
)
def test_session_lives_until_closed(
    monkeypatch: pytest.MonkeyPatch,
    make_client: Callable[[pytest.MonkeyPatch], TestClient],
) -> None:
    client = make_client(monkeypatch)
    first, second = begin(client), begin(client)
    assert first != second
    assert ask(client, first, {"a": 1}).json() == [{"a": 1}]
    assert ask(client, second, {"b": 2}).json() == [{"b": 2}]
    assert ask(client, first, {"c": 3}).json() == [{"a": 1}, {"c": 3}]
    assert client.post("/invocations", json={}).json() is None
    closed = close(client, first)
    assert (closed.status_code, closed.text) == (200, f"Session {first} closed")
    assert closed.headers[CLOSED_SESSION] == first
    assert refusal(ask(client, first)) == not_found(first)
    assert refusal(close(client, first)) == not_found(first)
    assert ask(client, second, {}).json() == [{"b": 2}, {}]


@pytest.mark.parametrize("seconds", [None, 1, 90])
def test_new_session_reports_expiration(
    monkeypatch: pytest.MonkeyPatch, seconds: int | None
) -> None:
    if seconds is not None:
        monkeypatch.setenv("SAGEMAKER_SESSIONS_EXPIRATION", str(seconds))
    client, before = client_of(remember), time.time()
    answer = client.post("/invocations", json=NEW)
    after = time.time()
    assert answer.status_code == 200
    value = answer.headers[SESSION]
    assert answer.headers[NEW_SESSION] == value
    found = re.fullmatch(
        r"([a-zA-Z0-9](?:-*[a-zA-Z0-9])*); "
        r"Expires=(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)",
        value,
    )
    assert found is not None
    assert answer.text == f"Session {found[1]} created"
    expires = datetime.strptime(found[2], "%Y-%m-%dT%H:%M:%SZ")
    timestamp = expires.replace(tzinfo=timezone.utc).timestamp()
    lifetime = 1200 if seconds is None else seconds
    assert before + lifetime <= timestamp <= math.ceil(after + lifetime)


def test_expired_session_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, client = Clock(monkeypatch), client_of(remember)
    old = begin(client)
    clock.now += 1199
    new = begin(client)
    assert ask(client, old).status_code == 200
    clock.now += 2
    for refused in (ask(client, old), close(client, old)):
        assert refusal(refused) == not_found(old)
    assert ask(client, new).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"requestType": "EMBED"}',
        b'{"requestType": "new_session"}',
        b'{"requestType": ""}',
        b'{"requestType": null}',
        b'{"requestType": []}',
        b'{"requestType": {"a": "CLOSE"}}',
        b'{"requestType": "NEW_SESSION", "prompt": "p"}',
        b'{"requestType": "CLOSE", "requestId": null}',
        b'{"prompt": "p", "requestType": "OTHER"}',
    ],
)
def test_other_control_requests_are_rejected(
    client: TestClient, body: bytes, folder: Path
) -> None:
    session_id = begin(client)
    before = content(folder)
    for headers in ({}, {SESSION: session_id}):
        answer = client.post("/invocations", content=body, headers=headers)
        status, detail = refusal(answer)
        assert status == 400
        assert "requestType" in detail
    assert content(folder) == before


@pytest.mark.parametrize(
    "body",
    [
        b' {\n "requestType" : "NEW_SESSION" }\r\n',
        b'\xef\xbb\xbf{"requestType": "NEW_SESSION"}',
        b'{"requestType": "NEW_SESSION"' + b" " * 4000 + b"}",
        [b'{"requestType"', b': "NEW_', b'SESSION"}'],
    ],
)
def test_control_request_is_recognised_in_any_json_form(
    client: TestClient, body: Any, folder: Path
) -> None:
    pieces = iter(body) if isinstance(body, list) else body
    answer = client.post("/invocations", content=pieces)
    assert (answer.status_code, count(folder)) == (200, 1)


def test_new_session_can_be_requested_within_a_session(
    client: TestClient, folder: Path
) -> None:
    headers = {SESSION: begin(client)}
    answer = client.post("/invocations", json=NEW, headers=headers)
    assert (answer.status_code, count(folder)) == (200, 2)
    # The client of an expired session must be able to get a new one.
    close(client, headers[SESSION])
    answer = client.post("/invocations", json=NEW, headers=headers)
    assert (answer.status_code, count(folder)) == (200, 2)


def test_closing_requires_header(client: TestClient, folder: Path) -> None:
    begin(client)
    answer = client.post("/invocations", json=CLOSE)
    detail = "Failed to close session: invalid session_id: None"
    assert refusal(answer) == (424, detail)
    assert count(folder) == 1


def test_manager_exists_only_with_sessions_on() -> None:
    assert get_session_manager() is None
    client_of(remember)
    assert get_session_manager() is not None


@pytest.mark.parametrize("word", ["", "false", "0", "No"])
def test_sessions_are_off_by_default(
    monkeypatch: pytest.MonkeyPatch, word: str, folder: Path
) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", word)
    client = decorated(monkeypatch)
    assert get_session_manager() is None
    for body, headers in ((NEW, {}), (CLOSE, {SESSION: "a"}), ({}, {SESSION: "a"})):
        answer = client.post("/invocations", json=body, headers=headers)
        assert refusal(answer) == (400, NOT_ENABLED)
    assert client.post("/invocations", json={}).status_code == 200
    assert not folder.exists()
