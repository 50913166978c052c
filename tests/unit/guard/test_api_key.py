"""MHCS_API_KEY and the engine's keys: requests without a key are rejected."""

from __future__ import annotations

import argparse
from typing import Any, Final

import pytest
from fastapi import FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import WebSocketDenialResponse

import model_hosting_container_standards.engines.registry as engine_registry
import model_hosting_container_standards.sagemaker as sagemaker
from adapter_engine import AdapterEngine, Published
from customised import app_with
from metrics_page import scrape
from mhcs.tensorrt_llm import engine as tensorrt_llm
from mhcs.vllm import engine as vllm
from model_hosting_container_standards.exceptions import ConfigurationError

KEY: Final = "s3cret"
RIGHT: Final = {"Authorization": f"Bearer {KEY}"}

GUARDED: Final = [
    ("POST", "/invocations"),
    ("GET", "/invocations"),
    ("POST", "//invocations"),
    ("POST", "/invocations/"),
    ("POST", "/Invocations"),
    ("GET", "/adapters"),
    ("GET", "/adapters/a"),
    ("GET", "//adapters"),
    ("DELETE", "/adapters/a"),
    ("GET", "/v1/models"),
    ("POST", "/v1/completions"),
    ("POST", "/generate"),
    ("POST", "/ping/../invocations"),
    ("POST", "/ping/"),
    ("BREW", "/"),
    ("GET", "/%61dapters"),
]
PUBLIC: Final = [
    ("GET", "/ping"),
    ("HEAD", "/ping"),
    ("POST", "/ping"),
    ("GET", "/metrics"),
    ("GET", "/health"),
    ("OPTIONS", "/generate"),
    ("OPTIONS", "/adapters"),
    ("OPTIONS", "/v1/completions"),
]


@pytest.fixture(params=["", "/prod"])
def root(request: pytest.FixtureRequest) -> str:
    path: str = request.param
    return path


@pytest.fixture
def client(root: str, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv("MHCS_API_KEY", KEY)
    app = app_with()
    app.get("/v1/models")(models)
    return TestClient(app, root_path=root)


async def models() -> str:
    return "models"


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_inference_and_adapter_routes_require_key(
    client: TestClient, root: str, method: str, path: str
) -> None:
    url = f"http://testserver{root}{path}"
    answer = client.request(method, url, follow_redirects=False)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "Bearer KEY" in answer.json()["detail"]
    with_key = client.request(method, url, headers=RIGHT)
    assert with_key.status_code != 401


@pytest.mark.parametrize(("method", "path"), PUBLIC)
def test_health_and_metrics_need_no_key(
    client: TestClient, root: str, method: str, path: str
) -> None:
    assert client.request(method, root + path).status_code != 401


@pytest.mark.parametrize(
    "header",
    [
        *(b"", KEY.encode(), b"Bearer", b"Bearer ", b"Basic " + KEY.encode()),
        *(
            b"Bearer s3cre",
            b"Bearer s3crett",
            b"Bearer \xff\xfe",
            b"Bearer caf\xc3\xa9",
        ),
        *(b"Bearer S3CRET", b"Bearer s3cret s3cret"),
    ],
)
def test_wrong_key_is_rejected(client: TestClient, root: str, header: bytes) -> None:
    headers = [(b"authorization", header)]
    answer = client.post(f"{root}/invocations", headers=headers)
    assert answer.status_code == 401


@pytest.mark.parametrize("header", ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret"])
def test_valid_key_is_accepted(client: TestClient, root: str, header: str) -> None:
    headers = {"Authorization": header}
    answer = client.post(f"{root}/invocations", content=b"x", headers=headers)
    assert (answer.status_code, answer.content) == (200, b"x")


@pytest.mark.parametrize("first", [f"Bearer {KEY}", "Bearer other", ""])
def test_first_of_several_authorization_headers_is_used(
    client: TestClient, first: str
) -> None:
    second = "Bearer other" if KEY in first else f"Bearer {KEY}"
    headers = [("Authorization", first), ("Authorization", second)]
    answer = client.post("/invocations", headers=headers)
    assert answer.status_code == (200 if KEY in first else 401)


def test_key_may_be_any_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHCS_API_KEY", "clé")
    client = TestClient(app_with())
    headers = [(b"authorization", "Bearer clé".encode())]
    assert client.post("/invocations", headers=headers).status_code == 200


def test_mounted_app_requires_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHCS_API_KEY", KEY)
    client = TestClient(Starlette(routes=[Mount("/model", app_with())]))
    assert client.post("/model/invocations").status_code == 401
    assert client.get("/model/ping").status_code == 200
    assert client.post("/model/invocations", headers=RIGHT).status_code == 200


def test_websockets_require_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHCS_API_KEY", KEY)
    app = app_with()

    @app.websocket("/v1/realtime")
    async def words(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("welcome")
        await websocket.close()

    client = TestClient(app)
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect("/v1/realtime"),
    ):
        pass
    assert refused.value.status_code == 401
    assert refused.value.headers["WWW-Authenticate"] == "Bearer"
    with client.websocket_connect("/v1/realtime", headers=RIGHT) as websocket:
        assert websocket.receive_text() == "welcome"


def test_rejection_has_apps_error_format_metrics_and_request_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MHCS_API_KEY", KEY)
    app = app_with()

    @app.exception_handler(HTTPException)
    async def explain(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": {"message": error.detail}}, error.status_code)

    client = TestClient(app)
    labels = {"route": "/invocations", "status": "401"}
    before = scrape(client).value("sagemaker_requests_total", **labels)
    answer = client.post("/invocations", headers={"X-Request-Id": "client"})
    assert answer.json()["error"]["message"].startswith("Missing or invalid API key")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.headers["X-Request-Id"] == "client"
    assert scrape(client).value("sagemaker_requests_total", **labels) == before + 1


# --- the engine's keys ----------------------------------------------------------------


class KeyedEngine(Published):
    """An engine with API keys of its own."""

    def api_keys(self, app: FastAPI) -> list[str]:
        return ["first", "second"]


@pytest.fixture
def keyed_app(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    app = FastAPI()
    app.get("/ping")(models)
    app.post("/invocations")(models)
    published = KeyedEngine(app, AdapterEngine(tmp_path / "engine"))
    monkeypatch.setattr(engine_registry, "installed_engines", lambda: iter([published]))
    return app


@pytest.mark.parametrize(
    ("variables", "accepted"),
    [
        ({}, {"", "first", "second", "third"}),
        ({"MHCS_GUARD": "1"}, {"first", "second"}),
        ({"MHCS_API_KEY": "third"}, {"third"}),
        ({"MHCS_API_KEY": "third", "MHCS_GUARD": "0"}, {"third"}),
        ({"MHCS_API_KEY": "third", "MHCS_GUARD": "1"}, {"first", "second", "third"}),
    ],
)
def test_which_keys_are_accepted(
    keyed_app: FastAPI,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    accepted: set[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    client = TestClient(sagemaker.bootstrap(keyed_app))
    found = set()
    for key in ("", "first", "second", "third"):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if client.post("/invocations", headers=headers).status_code == 200:
            found.add(key)
    assert found == accepted


def test_guard_without_key_stops_startup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHCS_GUARD", "1")
    app = FastAPI()
    with pytest.raises(ConfigurationError, match="no API key is set: set MHCS_API_KEY"):
        sagemaker.bootstrap(app)


@pytest.mark.parametrize(
    ("argument", "variable", "keys"),
    [
        (None, "", []),
        (None, "v", ["v"]),
        ("a", "v", ["a"]),
        (["a", "b"], "v", ["a", "b"]),
        ([], "v", ["v"]),
        (["", "b"], "v", ["b"]),
    ],
)
def test_vllm_keys_come_from_command_line_or_variable(
    monkeypatch: pytest.MonkeyPatch, argument: Any, variable: str, keys: list[str]
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", variable)
    app = FastAPI()
    app.state.args = argparse.Namespace(api_key=argument)
    assert list(vllm.api_keys(app)) == keys
    del app.state.args
    assert list(vllm.api_keys(app)) == [variable] * bool(variable)
    assert list(tensorrt_llm.api_keys(app)) == []
