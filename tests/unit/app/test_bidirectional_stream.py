"""The WebSocket of bidirectional streaming: who answers it, and by which path."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.routing import Mount, WebSocketRoute
from starlette.testclient import WebSocketDenialResponse
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from fixtures import Includer, Script
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.app.bidirectional_stream import RealtimeEvents
from model_hosting_container_standards.contract.routes import (
    BIDIRECTIONAL_STREAM as STREAM,
)
from model_hosting_container_standards.exceptions import HandlerNotCallableError
from plain_engine import engine_app

PATH: Final = "X-Amzn-SageMaker-Model-Invocation-Path"
ADAPTER: Final = "X-Amzn-SageMaker-Adapter-Identifier"
ECHO: Final = """
from fastapi import WebSocket

from model_hosting_container_standards import sagemaker


@sagemaker.stream
async def stream(websocket: WebSocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"customer: {text}")
"""


def answers(name: str) -> Callable[[WebSocket], Any]:
    """Return a handler that names itself, and then what it gets."""

    async def answer(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(f"{name} at {websocket.url.path}")
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            kind = "text" if message.get("text") is not None else "bytes"
            await websocket.send_json([kind, str(message[kind])])

    return answer


def app_with_websockets(*paths: str) -> FastAPI:
    app = FastAPI()
    for path in paths:
        app.add_api_websocket_route(path, answers(path))
    return app


def first_text(client: TestClient, path: str = STREAM, **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with client.websocket_connect(path, headers=named) as websocket:
        text: str = websocket.receive_text()
        return text


def refusal(
    client: TestClient, path: str = STREAM, headers: Mapping[str, Any] | None = None
) -> WebSocketDenialResponse:
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect(path, headers=dict(headers or {})),
    ):
        pass
    return refused.value


# --- who answers -------------------------------------------------------------------


@pytest.mark.parametrize("paths", [[], ["/v1/realtime"]], ids=["none", "realtime"])
def test_websocket_routes_have_endpoints_with_names(paths: list[str]) -> None:
    """Else vLLM, which logs the routes of its app, does not start."""
    app = sagemaker.bootstrap(app_with_websockets(*paths))
    endpoints = [
        route.endpoint for route in app.routes if isinstance(route, WebSocketRoute)
    ]
    names = {endpoint.__name__ for endpoint in endpoints}
    assert "BidirectionalStream" in names


def test_customers_handler_answers(script: Script) -> None:
    script(ECHO)
    app = app_with_websockets(STREAM, "/v1/realtime")
    client = TestClient(sagemaker.bootstrap(app))
    with client.websocket_connect(STREAM) as websocket:
        websocket.send_text("hello")
        assert websocket.receive_text() == "customer: hello"
    assert first_text(client, "/v1/realtime") == "/v1/realtime at /v1/realtime"


def test_apps_own_route_answers_without_handler() -> None:
    app = app_with_websockets("/v1/realtime", STREAM)
    client = TestClient(sagemaker.bootstrap(app))
    assert first_text(client) == f"{STREAM} at {STREAM}"


def test_realtime_route_answers_without_both(includer: Includer) -> None:
    app, router = FastAPI(), APIRouter()
    router.add_api_websocket_route("/v1/realtime", answers("realtime"))
    includer(app, router)
    client = TestClient(sagemaker.bootstrap(app))
    assert first_text(client) == "realtime at /v1/realtime"


def test_route_of_a_mounted_app_answers() -> None:
    app = sagemaker.bootstrap(app_with_websockets("/v1/realtime"))
    client = TestClient(Starlette(routes=[Mount("/model", app)]))
    text = first_text(client, f"/model{STREAM}")
    assert text == "/v1/realtime at /model/v1/realtime"


def test_refusal_without_any_handler_says_what_is_missing() -> None:
    refused = refusal(TestClient(sagemaker.bootstrap(FastAPI())))
    assert refused.status_code == 404
    assert "@sagemaker.stream" in refused.json()["detail"]
    assert "/v1/realtime" in refused.json()["detail"]


def test_http_request_is_not_answered_as_a_stream() -> None:
    client = TestClient(sagemaker.bootstrap(app_with_websockets("/v1/realtime")))
    assert client.get(STREAM).status_code == 404


# --- the path in the header ----------------------------------------------------------


@pytest.mark.parametrize("path", ["v1/talk", "/v1/talk", " v1/talk "])
def test_header_chooses_route_with_or_without_slash(path: str) -> None:
    app = app_with_websockets("/v1/realtime", "/v1/talk")
    client = TestClient(sagemaker.bootstrap(app))
    with client.websocket_connect(STREAM, headers={PATH: path}) as websocket:
        assert websocket.receive_text() == "/v1/talk at /v1/talk"


@pytest.mark.parametrize("path", ["", " ", "/", STREAM, STREAM[1:]])
def test_header_without_another_path_chooses_realtime(path: str) -> None:
    client = TestClient(sagemaker.bootstrap(app_with_websockets("/v1/realtime")))
    with client.websocket_connect(STREAM, headers={PATH: path}) as websocket:
        assert websocket.receive_text() == "/v1/realtime at /v1/realtime"


@pytest.mark.parametrize("path", ["v1/other", "v1/realtime/", "../v1/talk", "v1/é"])
def test_unknown_path_is_refused_with_those_there_are(path: str) -> None:
    app = app_with_websockets("/v1/realtime", "/v1/talk")
    app.post("/v1/other")(lambda: "HTTP")
    client = TestClient(sagemaker.bootstrap(app))
    refused = refusal(client, headers={PATH: path.encode()})
    assert refused.status_code == 404
    expected = f"{PATH} must be one of /v1/realtime, /v1/talk."
    assert refused.json() == {"detail": expected}


def test_path_is_refused_where_no_route_could_be_meant() -> None:
    client = TestClient(sagemaker.bootstrap(FastAPI()))
    refused = refusal(client, headers={PATH: "v1/realtime"})
    assert refused.json() == {"detail": f"{PATH}: the server has no WebSocket route."}


def test_customers_handler_gets_header_itself() -> None:
    @sagemaker.stream
    async def stream(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(websocket.headers[PATH])

    client = TestClient(sagemaker.bootstrap(app_with_websockets("/v1/realtime")))
    with client.websocket_connect(STREAM, headers={PATH: "v1/realtime"}) as websocket:
        assert websocket.receive_text() == "v1/realtime"


def test_query_reaches_chosen_route() -> None:
    app = FastAPI()

    @app.websocket("/v1/realtime")
    async def realtime(websocket: WebSocket, model: str) -> None:
        await websocket.accept()
        await websocket.send_text(model)

    client = TestClient(sagemaker.bootstrap(app))
    assert first_text(client, f"{STREAM}?model=tiny") == "tiny"


# --- an engine's /v1/realtime --------------------------------------------------------


@pytest.fixture
def engine_client(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    app = app_with_websockets("/v1/realtime")
    return TestClient(engine_app(lambda: "", monkeypatch, app=app))


REALTIME_PATHS: Final = pytest.mark.parametrize("path", [STREAM, "/v1/realtime"])


@REALTIME_PATHS
def test_engine_gets_binary_events_as_text(
    engine_client: TestClient, path: str
) -> None:
    with engine_client.websocket_connect(path) as websocket:
        websocket.receive_text()
        websocket.send_bytes('{"type": "é"}'.encode())
        assert websocket.receive_json() == ["text", '{"type": "é"}']
        websocket.send_text("")
        assert websocket.receive_json() == ["text", ""]
        websocket.send_bytes(b"")
        assert websocket.receive_json() == ["text", ""]


@REALTIME_PATHS
def test_event_that_is_not_text_closes_connection(
    engine_client: TestClient, path: str
) -> None:
    with engine_client.websocket_connect(path) as websocket:
        websocket.receive_text()
        websocket.send_bytes(b"\xff\x00")
        with pytest.raises(WebSocketDisconnect) as closed:
            websocket.receive_text()
    assert closed.value.code == 1007
    assert closed.value.reason == "/v1/realtime takes events as JSON."


async def test_engine_may_send_after_an_event_that_is_not_text() -> None:
    """An engine that generates meanwhile; uvicorn raises for what follows a close."""
    sent: list[Message] = []

    async def engine(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.send", "text": "before"})
        assert (await receive())["type"] == "websocket.disconnect"
        await send({"type": "websocket.send", "text": "after"})
        await send({"type": "websocket.close", "code": 1000})

    async def receive() -> Message:
        return {"type": "websocket.receive", "bytes": b"\xff"}

    async def send(message: Message) -> None:
        assert not sent or sent[-1]["type"] != "websocket.close"
        sent.append(message)

    await RealtimeEvents(engine)({"type": "websocket", "headers": []}, receive, send)
    assert [message["type"] for message in sent] == [
        "websocket.send",
        "websocket.close",
    ]
    assert sent[-1]["code"] == 1007


@REALTIME_PATHS
def test_adapter_is_refused_rather_than_answered_by_base_model(
    engine_client: TestClient, path: str
) -> None:
    refused = refusal(engine_client, path, {ADAPTER: "fr"})
    assert refused.status_code == 400
    assert refused.json() == {"detail": "/v1/realtime does not support adapters."}


def test_server_without_engine_gets_messages_and_adapter_unchanged() -> None:
    client = TestClient(sagemaker.bootstrap(app_with_websockets("/v1/realtime")))
    with client.websocket_connect(STREAM, headers={ADAPTER: "fr"}) as websocket:
        websocket.receive_text()
        websocket.send_bytes(b"abc")
        assert websocket.receive_json() == ["bytes", "b'abc'"]


# --- handlers ------------------------------------------------------------------------


class Talker:
    """A handler that is a class, or an instance of it."""

    async def __call__(self, websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("talker")

    async def talk(self, websocket: WebSocket) -> None:
        await self(websocket)


async def greet(greeting: str, websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(greeting)


@pytest.mark.parametrize(
    "handler",
    [Talker, Talker(), Talker().talk, functools.partial(greet, "talker")],
    ids=["class", "instance", "method", "partial"],
)
def test_handler_may_be_any_async_callable(handler: Any) -> None:
    assert sagemaker.stream(handler) is handler
    assert first_text(TestClient(sagemaker.bootstrap(FastAPI()))) == "talker"


def synchronous(websocket: WebSocket) -> None: ...


async def without_argument() -> None: ...


async def with_two(websocket: WebSocket, more: str) -> None: ...


async def generator(websocket: WebSocket) -> Any:
    yield


@pytest.mark.parametrize(
    "handler", [synchronous, without_argument, with_two, generator]
)
def test_handler_that_cannot_be_called_stops_startup(handler: Any) -> None:
    sagemaker.stream(handler)
    app = FastAPI()
    before = [*app.router.routes]
    with pytest.raises(HandlerNotCallableError, match=handler.__name__) as stopped:
        sagemaker.bootstrap(app)
    assert "async def stream(websocket)" in str(stopped.value)
    assert app.router.routes == before


def test_class_without_call_stops_startup() -> None:
    sagemaker.stream(FastAPI)
    sagemaker.stream(type("Empty", (), {}))
    with pytest.raises(HandlerNotCallableError, match="Empty is a class without"):
        sagemaker.bootstrap(FastAPI())


def test_decorator_with_parentheses_is_an_error() -> None:
    with pytest.raises(TypeError, match="stream handler must be a callable"):
        sagemaker.stream(None)  # type: ignore[type-var]


def test_script_with_stream_only_belongs_to_this_server(script: Script) -> None:
    script(f"{ECHO}\n\ndef model_fn(folder): ...\n")
    with TestClient(sagemaker.bootstrap(FastAPI())) as client:
        assert client.get(STREAM).status_code == 404  # It has started.


def test_handler_without_library_for_websockets_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for library in ("websockets", "wsproto"):
        monkeypatch.setitem(sys.modules, library, None)
    sagemaker.stream(Talker())
    sagemaker.bootstrap(FastAPI())
    assert "without the package websockets: install it" in caplog.text
