"""Sessions on decorated routes other than /invocations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.testclient import TestClient
from pydantic import BaseModel

from fixtures import Includer
from invocations_app import NOT_ENABLED, SESSION
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.sagemaker.sessions.manager import (
    get_session_manager,
)
from model_hosting_container_standards.sessions.stateful_routes import find_places
from session_client import (
    CLOSE,
    CLOSED_SESSION,
    NEW,
    NEW_SESSION,
    Clock,
    not_found,
    refusal,
)
from session_engine import Engine

stateful: Final = sagemaker.stateful_session_manager


class Chat(BaseModel):
    """A body with a required field, which requests for sessions do not have."""

    message: str
    session: str | None = None


async def chat(chat: Chat, raw_request: Request) -> Any:
    """Answer with what reached the handler, and the messages of the session."""
    return remember(chat, raw_request)


def chat_sync(chat: Chat, raw_request: Request) -> Any:
    return remember(chat, raw_request)


class AsyncInstance:
    async def __call__(self, chat: Chat, raw_request: Request) -> Any:
        return remember(chat, raw_request)


class Bound:
    async def chat(self, chat: Chat, raw_request: Request) -> Any:
        return remember(chat, raw_request)


def remember(chat: Chat, raw_request: Request) -> Any:
    sessions = get_session_manager()
    session_id = raw_request.headers.get(SESSION)
    if sessions is None or session_id is None:
        return {"field": chat.session, "messages": [chat.message]}
    session = sessions.get_session(session_id)
    session.put("messages", [*session.get("messages", []), chat.message])
    return {"field": chat.session, "messages": session.get("messages")}


@pytest.fixture(autouse=True)
def sessions_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")


def client_of(app: FastAPI) -> TestClient:
    return TestClient(sagemaker.bootstrap(app))


def app_with(endpoint: Callable[..., Any], path: str = "/chat") -> FastAPI:
    app = FastAPI()
    app.post(path)(endpoint)
    return app


def begin(client: TestClient, path: str = "/chat") -> str:
    answer = client.post(path, json=NEW)
    assert answer.status_code == 200, answer.text
    session_id, _, _ = answer.headers[SESSION].partition("; Expires=")
    assert answer.text == f"Session {session_id} created"
    assert answer.headers[NEW_SESSION] == answer.headers[SESSION]
    return session_id


def say(
    client: TestClient, session_id: str, message: str = "hi", path: str = "/chat"
) -> Any:
    headers = {SESSION: session_id}
    return client.post(path, json={"message": message}, headers=headers)


def close(client: TestClient, session_id: str, path: str = "/chat") -> Any:
    return client.post(path, json=CLOSE, headers={SESSION: session_id})


def check_sessions(
    client: TestClient, path: str = "/chat", *, has_field: bool = True
) -> None:
    """Check the life of a session on a route."""
    session_id, other = begin(client, path), begin(client, path)
    field = session_id if has_field else None
    answer = say(client, session_id, "one", path)
    assert answer.json() == {"field": field, "messages": ["one"]}, answer.text
    answer = say(client, session_id, "two", path)
    assert answer.json() == {"field": field, "messages": ["one", "two"]}
    assert say(client, other, "three", path).json()["messages"] == ["three"]
    closed = close(client, session_id, path)
    assert (closed.status_code, closed.text) == (200, f"Session {session_id} closed")
    assert closed.headers[CLOSED_SESSION] == session_id
    for refused in (
        say(client, session_id, path=path),
        close(client, session_id, path),
    ):
        assert refusal(refused) == not_found(session_id)
    answer = client.post(path, json={"message": "alone"})
    assert answer.json() == {"field": None, "messages": ["alone"]}


# --- which routes have sessions -------------------------------------------------------


@pytest.mark.parametrize(
    "handler",
    [
        chat,
        chat_sync,
        AsyncInstance(),
        Bound().chat,
        functools.partial(chat),
        functools.partial(chat_sync),
    ],
    ids=["async", "sync", "instance", "method", "partial", "sync partial"],
)
@pytest.mark.parametrize("path", ["session", None])
def test_decorated_route_has_sessions(
    handler: Callable[..., Any], path: str | None
) -> None:
    client = client_of(app_with(stateful(path)(handler)))
    check_sessions(client, has_field=path is not None)


def test_decorator_above_the_routes_own_counts() -> None:
    app = FastAPI()

    @stateful("session")
    @app.post("/chat")
    async def handler(chat: Chat, raw_request: Request) -> Any:
        return remember(chat, raw_request)

    check_sessions(client_of(app))


@pytest.mark.parametrize("above", [0, 1, 2])
def test_two_decorators_count_above_and_below(above: int) -> None:
    app, handler = FastAPI(), chat
    decorators = [stateful("session"), stateful("message")]
    decorators.insert(2 - above, app.post("/chat"))
    for decorate in decorators:
        handler = decorate(handler)
    client = client_of(app)
    session_id = begin(client)
    answer = say(client, session_id).json()
    assert answer == {"field": session_id, "messages": [session_id]}


def test_route_of_the_undecorated_handler_has_none() -> None:
    app = FastAPI()
    app.post("/plain")(chat)
    app.post("/chat")(stateful("session")(chat))
    client = client_of(app)
    check_sessions(client)
    assert client.post("/plain", json=NEW).status_code == 422
    answer = say(client, "unknown", path="/plain")
    # The handler itself does not find the session.
    assert refusal(answer) == not_found("unknown")
    assert say(client, begin(client), path="/plain").json()["field"] is None


def test_routes_of_routers_have_sessions(includer: Includer) -> None:
    app, router = FastAPI(), APIRouter(prefix="/v2")
    router.post("/chat")(stateful("session")(chat))
    includer(app, router)
    check_sessions(client_of(app), "/v2/chat")


def test_routes_of_nested_routers_with_prefixes_have_sessions() -> None:
    app, outer, inner = FastAPI(), APIRouter(), APIRouter(prefix="/inner")
    inner.post("/{name}/chat")(stateful("session")(chat))
    outer.include_router(inner, prefix="/outer")
    app.include_router(outer, prefix="/app")
    check_sessions(client_of(app), "/app/outer/inner/any/chat")


def test_routes_of_mounted_apps_have_sessions() -> None:
    app, mounted = FastAPI(), FastAPI()
    mounted.post("/{name}")(stateful("session")(chat))
    app.mount("/apps/{name}", mounted)
    check_sessions(client_of(app), "/apps/one/chat")


def test_routes_below_root_path_have_sessions() -> None:
    app = app_with(stateful("session")(chat))
    client = TestClient(sagemaker.bootstrap(app), root_path="/prod")
    check_sessions(client)


def test_first_matching_route_decides() -> None:
    app = FastAPI()
    app.post("/plain")(chat)
    app.get("/chat")(lambda: "read")
    app.post("/{name}")(stateful("session")(chat))
    client = client_of(app)
    check_sessions(client, "/chat")
    assert client.post("/plain", json=NEW).status_code == 422
    assert client.get("/chat", headers={SESSION: "unknown"}).json() == "read"


def test_sessions_are_those_of_invocations() -> None:
    app = app_with(stateful("session")(chat))
    sagemaker.invoke(stateful()(chat_sync))
    client = client_of(app)
    session_id = begin(client, "/invocations")
    assert say(client, session_id).json() == {"field": session_id, "messages": ["hi"]}
    answer = say(client, session_id, "there", "/invocations")
    assert answer.json() == {"field": None, "messages": ["hi", "there"]}
    assert close(client, session_id).status_code == 200
    answer = say(client, session_id, path="/invocations")
    assert refusal(answer) == not_found(session_id)


def test_every_decorated_route_has_its_own_field() -> None:
    app = app_with(stateful("session")(chat))
    app.post("/other")(stateful("message")(chat))
    client = client_of(app)
    session_id = begin(client)
    assert say(client, session_id, path="/other").json()["messages"] == [session_id]
    assert say(client, session_id).json()["field"] == session_id


@pytest.mark.parametrize(
    "paths", [("session", "message"), ("session", None, "message")]
)
def test_handler_decorated_twice_has_both_fields(paths: tuple[str | None, ...]) -> None:
    handler = chat
    for path in paths:
        handler = stateful(path)(handler)
    client = client_of(app_with(handler))
    session_id = begin(client)
    answer = say(client, session_id).json()
    assert answer == {"field": session_id, "messages": [session_id]}


def test_decorated_invocations_route_is_checked_once() -> None:
    """The contract's own route has the session step already."""
    app = app_with(stateful("session")(chat), "/invocations")
    client = client_of(app)
    check_sessions(client, "/invocations")
    assert find_places(app) == []


def test_decorated_route_keeps_its_identity() -> None:
    app = app_with(stateful("session")(chat))
    before = FastAPI()
    before.post("/chat")(chat)
    paths = [sagemaker.bootstrap(app).openapi()["paths"], before.openapi()["paths"]]
    assert paths[0]["/chat"] == paths[1]["/chat"]


# --- requests forwarded by /invocations -----------------------------------------------


def test_id_is_written_for_the_route_that_a_spec_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUSTOM_FASTAPI_INVOCATION_HANDLER", "/chat")
    client = client_of(app_with(stateful("session")(chat)))
    check_sessions(client, "/invocations")
    check_sessions(client)


# --- the protocol ---------------------------------------------------------------------


def test_session_begins_with_a_body_of_the_handlers_own() -> None:
    client = client_of(app_with(stateful("session")(chat)))
    answer = say(client, "NEW_SESSION")
    session_id = answer.json()["field"]
    assert answer.headers[NEW_SESSION].startswith(f"{session_id}; Expires=")
    assert say(client, session_id).json()["messages"] == ["hi", "hi"]
    refused = client.post("/chat", json={}, headers={SESSION: "NEW_SESSION"})
    assert (refused.status_code, SESSION in refused.headers) == (422, False)


def test_unknown_expired_and_illegal_ids_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    client = client_of(app_with(stateful("session")(chat)))
    assert refusal(say(client, "unknown")) == not_found("unknown")
    assert say(client, "../etc").status_code == 400
    session_id = begin(client)
    clock.now += 1201
    for refused in (say(client, session_id), close(client, session_id)):
        assert refusal(refused) == not_found(session_id)


def test_control_requests_follow_the_rules_of_invocations() -> None:
    client = client_of(app_with(stateful("session")(chat)))
    answer = client.post("/chat", json=CLOSE)
    assert refusal(answer) == (
        424,
        "Failed to close session: invalid session_id: None",
    )
    for body in ({"requestType": "OTHER"}, {**NEW, "message": "hi"}):
        assert client.post("/chat", json=body).status_code == 400
    headers = {SESSION: begin(client)}
    answer = client.post("/chat", content=b"[1]", headers=headers)
    assert (
        refusal(answer)[1] == f"{SESSION} needs a request body that is a JSON object."
    )


def test_many_clients_have_sessions_of_their_own() -> None:
    client = client_of(app_with(stateful("session")(chat)))

    def converse(number: int) -> list[str]:
        session_id = begin(client)
        for turn in range(5):
            answer = say(client, session_id, f"{number}-{turn}").json()
            assert answer["field"] == session_id
        assert close(client, session_id).status_code == 200
        messages: list[str] = answer["messages"]
        return messages

    with ThreadPoolExecutor(8) as threads:
        found = [*threads.map(converse, range(16))]
    assert found == [[f"{n}-{turn}" for turn in range(5)] for n in range(16)]


def test_engines_own_sessions_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine({"id": "of-the-engine"})
    sagemaker.register_create_session_handler("id")(engine.create)
    sagemaker.register_close_session_handler("session_id")(engine.close)
    client = client_of(app_with(stateful("session")(chat)))
    assert begin(client) == "of-the-engine"
    assert say(client, "of-the-engine").json()["field"] == "of-the-engine"
    assert close(client, "of-the-engine").status_code == 200
    assert [body for _, body in engine.asked] == [NEW, CLOSE]


def test_sessions_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "false")
    client = client_of(app_with(stateful("session")(chat)))
    for body, headers in ((NEW, {}), (CLOSE, {SESSION: "a"}), ({}, {SESSION: "a"})):
        answer = client.post("/chat", json=body, headers=headers)
        assert refusal(answer) == (400, NOT_ENABLED)
    answer = client.post("/chat", json={"message": "hi"})
    assert answer.json() == {"field": None, "messages": ["hi"]}
