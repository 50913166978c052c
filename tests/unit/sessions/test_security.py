"""Clients that a route's security refuses neither begin nor end sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Security
from fastapi.security import APIKeyHeader
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from fixtures import Script, include_nested
from invocations_app import SESSION
from model_hosting_container_standards import sagemaker
from session_client import CLOSE, NEW
from session_engine import Engine

KEY: Final = {"x-key": "right"}
JSON: Final = {"content-type": "application/json"}


class Chat(BaseModel):
    """A body with a required field, which requests for sessions do not have."""

    message: str


def require_key(
    request: Request, key: str = Security(APIKeyHeader(name="x-key", auto_error=False))
) -> str:
    state = request.app.state
    state.checks = getattr(state, "checks", 0) + 1
    if key != "right":
        raise HTTPException(401, "no key")
    return key


@sagemaker.stateful_session_manager()
async def chat(chat: Chat) -> str:
    return chat.message


@sagemaker.stateful_session_manager()
async def keyed_chat(chat: Chat, key: str = Security(require_key)) -> str:
    return f"{chat.message} {key}"


@sagemaker.stateful_session_manager()
async def annotated_chat(chat: Chat, key: Annotated[str, Security(require_key)]) -> str:
    return f"{chat.message} {key}"


def require_plain_key(
    key: str = Depends(APIKeyHeader(name="x-key", auto_error=False)),
) -> str:
    if key != "right":
        raise HTTPException(401, "no key")
    return key


class Caller:
    def __init__(self, key: str = Depends(require_plain_key)) -> None:
        self.key = key


@sagemaker.stateful_session_manager()
async def caller_chat(chat: Chat, caller: Annotated[Caller, Depends()]) -> str:
    return f"{chat.message} {caller.key}"


@sagemaker.stateful_session_manager()
async def typed_chat(
    chat: Chat,
    # The name that the check's own endpoint has, too.
    checked_request: Missing = Security(require_key),  # type: ignore[name-defined] # noqa: F821
    key: Annotated[str, Security(require_key)] = "",
) -> str:
    return f"{chat.message} {checked_request} {key}"


def by_route(path: str) -> FastAPI:
    app = FastAPI()
    app.post(path, dependencies=[Security(require_key)])(chat)
    return app


def by_parameter(path: str) -> FastAPI:
    app = FastAPI()
    app.post(path)(keyed_chat)
    return app


def by_annotation(path: str) -> FastAPI:
    app = FastAPI()
    app.post(path)(annotated_chat)
    return app


def by_scheme(path: str) -> FastAPI:
    app = FastAPI()
    app.post(path, dependencies=[Depends(require_plain_key)])(chat)
    return app


def by_scheme_of_class(path: str) -> FastAPI:
    app = FastAPI()
    app.post(path)(caller_chat)
    return app


def by_router(path: str) -> FastAPI:
    app, router = FastAPI(), APIRouter(dependencies=[Security(require_key)])
    router.post(path)(chat)
    app.include_router(router)
    return app


def by_nested_router(path: str) -> FastAPI:
    app, router, inner = FastAPI(), APIRouter(), APIRouter()
    inner.post(path)(chat)
    router.include_router(inner, dependencies=[Security(require_key)])
    include_nested(app, router)
    return app


def by_app(path: str) -> FastAPI:
    app = FastAPI(dependencies=[Security(require_key)])
    app.post(path)(chat)
    return app


def by_app_of_router(path: str) -> FastAPI:
    app, router = FastAPI(dependencies=[Security(require_key)]), APIRouter()
    router.post(path)(chat)
    include_nested(app, router)
    return app


@pytest.fixture(autouse=True)
def sessions_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")


def client_of(app: FastAPI) -> TestClient:
    return TestClient(sagemaker.bootstrap(app))


def begin(client: TestClient, path: str) -> str:
    answer = client.post(path, json=NEW, headers=KEY)
    assert answer.status_code == 200, answer.text
    return answer.headers[SESSION].partition(";")[0]


@pytest.mark.parametrize("path", ["/invocations", "/chat"])
@pytest.mark.parametrize(
    "make_app",
    [
        *(by_route, by_parameter, by_annotation, by_scheme, by_scheme_of_class),
        *(by_router, by_nested_router, by_app, by_app_of_router),
    ],
)
def test_client_without_key_neither_begins_nor_closes_sessions(
    make_app: Callable[[str], FastAPI], path: str
) -> None:
    client = client_of(make_app(path))
    session_id = begin(client, path)
    refused = client.post(path, json=NEW)
    assert (refused.status_code, refused.json()) == (401, {"detail": "no key"})
    assert SESSION not in refused.headers
    refused = client.post(path, json=CLOSE, headers={SESSION: session_id})
    assert refused.status_code == 401
    keyed = {SESSION: session_id, **KEY}
    answer = client.post(path, json={"message": "hi"}, headers=keyed)
    assert answer.json().startswith("hi")  # The session is still there.
    assert client.post(path, json=CLOSE, headers=keyed).status_code == 200


def test_annotation_that_cannot_be_read_hides_no_security() -> None:
    app = FastAPI()
    app.post("/chat")(typed_chat)
    client = client_of(app)
    refused = client.post("/chat", json=NEW)
    assert (refused.status_code, refused.json()) == (401, {"detail": "no key"})
    assert begin(client, "/chat")


@pytest.mark.parametrize("path", ["/invocations", "/chat"])
def test_security_is_asked_once_by_other_requests(path: str) -> None:
    app = by_route(path)
    client = client_of(app)
    session_id = begin(client, path)
    app.state.checks = 0
    keyed = {SESSION: session_id, **KEY}
    client.post(path, json={"message": "hi"}, headers=keyed)
    assert app.state.checks == 1


@pytest.mark.parametrize("path", ["/invocations", "/chat"])
def test_body_of_first_request_begins_no_session_of_engine_without_key(
    path: str,
) -> None:
    engine = Engine({"id": "1"})
    sagemaker.register_create_session_handler("id")(engine.create)
    sagemaker.register_close_session_handler("session_id")(engine.close)
    app = by_route(path)
    client = client_of(app)
    body, headers = {"message": "hi"}, {SESSION: "NEW_SESSION"}
    assert client.post(path, json=body, headers=headers).status_code == 401
    assert engine.asked == []
    answer = client.post(path, json=body, headers={**headers, **KEY})
    assert answer.json() == "hi"
    assert "; Expires=" in answer.headers[SESSION]


async def require_signature(request: Request) -> None:
    body = await request.body()
    if request.headers.get("x-length") != str(len(body)):
        raise HTTPException(403)


@pytest.mark.parametrize("path", ["/invocations", "/chat"])
def test_dependency_and_handler_read_the_same_body(path: str) -> None:
    app = FastAPI()
    app.post(path, dependencies=[Security(require_signature)])(chat)
    client = client_of(app)
    body = b'{"message":"hi"}'
    headers = {SESSION: "NEW_SESSION", "x-length": str(len(body)), **JSON}
    answer = client.post(path, content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (200, "hi")
    new = b'{"requestType":"NEW_SESSION"}'
    signed = {"x-length": str(len(new))}
    assert client.post(path, content=new, headers=signed).status_code == 200
    assert client.post(path, content=new).status_code == 403


def test_dependency_has_the_paths_parameters() -> None:
    def require_tenant(tenant: str, request: Request) -> None:
        if request.headers.get("x-tenant") != tenant:
            raise HTTPException(403)

    app = FastAPI()
    app.post("/{tenant}/chat", dependencies=[Security(require_tenant)])(chat)
    client = client_of(app)
    for tenant, status in (("blue", 200), ("red", 403)):
        answer = client.post("/blue/chat", json=NEW, headers={"x-tenant": tenant})
        assert answer.status_code == status


def test_customers_handler_keeps_the_replaced_routes_security(script: Script) -> None:
    script("def invoke(): return 'customer'")
    client = client_of(by_route("/invocations"))
    assert client.post("/invocations", json=NEW).status_code == 401
    assert begin(client, "/invocations")


def test_path_spec_keeps_its_routes_security(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTOM_FASTAPI_INVOCATION_HANDLER", "/chat")
    client = client_of(by_parameter("/chat"))
    assert client.post("/invocations", json=NEW).status_code == 401
    assert begin(client, "/invocations")


def test_other_dependencies_do_not_see_requests_for_sessions() -> None:
    async def require_message(request: Request) -> None:
        if "message" not in await request.json():
            raise HTTPException(400)

    app = FastAPI()
    app.post("/chat", dependencies=[Depends(require_message)])(chat)
    assert client_of(app).post("/chat", json=NEW).status_code == 200


def test_overridden_dependency_stays_overridden() -> None:
    app = by_parameter("/chat")
    app.dependency_overrides[require_key] = lambda: "test"
    assert client_of(app).post("/chat", json=NEW).status_code == 200


def test_mounted_apps_routes_are_protected() -> None:
    app, inner = FastAPI(), by_route("/chat")
    app.mount("/inner", inner)
    client = client_of(app)
    assert client.post("/inner/chat", json=NEW).status_code == 401
    assert begin(client, "/inner/chat")


def test_exception_of_dependency_is_the_servers_error() -> None:
    def fail() -> Any:
        raise RuntimeError("secret")

    app = FastAPI()
    app.post("/chat", dependencies=[Security(fail)])(chat)
    client = TestClient(sagemaker.bootstrap(app), raise_server_exceptions=False)
    answer = client.post("/chat", json=NEW)
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")


def test_route_of_starlette_needs_no_signature_that_can_be_read() -> None:
    @sagemaker.stateful_session_manager()
    async def plain(request: Missing) -> Any:  # type: ignore[name-defined] # noqa: F821
        return PlainTextResponse("plain")

    inner = Starlette(routes=[Route("/chat", plain, methods=["POST"])])
    app = FastAPI()
    app.mount("/inner", inner)
    client = client_of(app)
    assert client.post("/inner/chat", json=NEW).status_code == 200
    assert client.post("/inner/chat", json={}).text == "plain"
