"""Vertex AI's variables for the port and the routes: aliases of the contract's."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.testclient import TestClient

import model_hosting_container_standards.engines.registry as engine_registry
from adapter_engine import AdapterEngine, Published
from customised import app_with
from fixtures import Script, SetLimits
from metrics_page import scrape
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.engines.api import Engine
from model_hosting_container_standards.exceptions import ConfigurationError
from model_hosting_container_standards.settings import read_settings
from plain_engine import engine_app

HEALTH: Final = "AIP_HEALTH_ROUTE"
PREDICT: Final = "AIP_PREDICT_ROUTE"
KEY: Final = "s3cret"
RIGHT: Final = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def vertex(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HEALTH, "/v1/healthz")
    monkeypatch.setenv(PREDICT, "/predict")


def test_port_alias() -> None:
    assert read_settings({"AIP_HTTP_PORT": "7080"}).port == 7080
    both = {"AIP_HTTP_PORT": "7080", "SAGEMAKER_BIND_TO_PORT": "9000"}
    assert read_settings(both).port == 9000
    with pytest.raises(ConfigurationError, match="AIP_HTTP_PORT='http'"):
        assert read_settings({"AIP_HTTP_PORT": "http"}).port


@pytest.mark.usefixtures("vertex")
def test_alias_paths_use_same_handlers(script: Script) -> None:
    script(
        "def ping(): return 'my ping'\n"
        "async def invoke(request): return {'path': request.url.path,"
        " 'body': await request.json()}\n"
    )
    client = TestClient(app_with())
    for path in ("/ping", "/v1/healthz"):
        assert client.get(path).json() == client.post(path).json() == "my ping"
        assert client.head(path).status_code == 200
        assert client.delete(path).status_code == 405
    answers = [client.post(p, json={"a": 1}) for p in ("/invocations", "/predict")]
    assert answers[0].json() == answers[1].json()
    assert answers[1].json()["body"] == {"a": 1}
    assert client.get("/predict").status_code == 405


@pytest.mark.usefixtures("vertex")
def test_alias_routes_take_precedence_over_servers_routes() -> None:
    app = FastAPI()
    for path in ("/ping", "/invocations", "/v1/healthz", "/predict"):
        app.api_route(path, methods=["GET", "POST"])(lambda request: "never")

    async def ping() -> str:
        return "ping"

    async def invoke(request: Request) -> str:
        return "invoke"

    sagemaker.ping(ping)
    sagemaker.invoke(invoke)
    client = TestClient(sagemaker.bootstrap(app))
    assert client.get("/v1/healthz").json() == "ping"
    assert client.post("/predict").json() == "invoke"


@pytest.mark.parametrize(
    ("name", "path"), [(HEALTH, "/ping"), (PREDICT, "/invocations")]
)
def test_alias_may_be_the_contracts_own_path(
    monkeypatch: pytest.MonkeyPatch, name: str, path: str
) -> None:
    monkeypatch.setenv(name, path)
    client = TestClient(app_with())
    assert client.request("GET" if name == HEALTH else "POST", path).is_success


def test_vertex_own_routes_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that Vertex AI sets for a model without any."""
    model = "/v1/endpoints/123/deployedModels/456"
    monkeypatch.setenv(HEALTH, model)
    monkeypatch.setenv(PREDICT, f"{model}:predict")
    client = TestClient(app_with())
    assert client.get(model).json() == "engine's ping"
    assert client.post(f"{model}:predict", content=b"body").content == b"body"


def test_health_alias_may_be_the_engines_health_route(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(HEALTH, "/health")
    app = FastAPI()
    app.get("/health")(lambda: "engine's health")
    client = TestClient(engine_app(lambda: "", monkeypatch, app=app))
    for path in ("/ping", "/health"):
        assert client.get(path).json() == "engine's health"
        assert client.head(path).status_code == 200


@pytest.mark.usefixtures("vertex")
def test_sessions_work_on_alias_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")
    client = TestClient(app_with())
    answer = client.post("/predict", json={"requestType": "NEW_SESSION"})
    assert answer.text.startswith("Session ")


@pytest.mark.usefixtures("vertex")
def test_no_alias_routes_without_contracts_routes() -> None:
    client = TestClient(sagemaker.bootstrap(FastAPI()))
    assert client.get("/v1/healthz").status_code == 404
    assert client.post("/predict").status_code == 404


# --- metrics, keys and throttle -----------------------------------------------------


@pytest.mark.usefixtures("vertex")
def test_metrics_count_alias_as_contracts_route() -> None:
    client = TestClient(app_with())
    for route, method, path in (
        ("/ping", "GET", "/v1/healthz"),
        ("/invocations", "POST", "/predict"),
    ):
        labels = {"route": route, "method": method, "status": "200"}
        before = scrape(client).value("sagemaker_requests_total", **labels)
        assert client.request(method, path).status_code == 200
        after = scrape(client).value("sagemaker_requests_total", **labels)
        assert after == before + 1


@pytest.mark.usefixtures("vertex")
@pytest.mark.parametrize("root", ["", "/prod"])
def test_predict_alias_requires_key_and_health_alias_does_not(
    monkeypatch: pytest.MonkeyPatch, root: str
) -> None:
    monkeypatch.setenv("MHCS_API_KEY", KEY)
    client = TestClient(app_with(), root_path=root)
    for method in ("GET", "HEAD", "POST"):
        assert client.request(method, f"{root}/v1/healthz").status_code == 200
    assert client.get(f"{root}/v1/healthz/").status_code == 401
    assert client.post(f"{root}/predict").status_code == 401
    assert client.post(f"{root}/predict", headers=RIGHT).status_code == 200


@pytest.mark.usefixtures("vertex")
def test_throttle_ignores_health_alias(limits: SetLimits) -> None:
    limits(per_second="0.001")
    client = TestClient(app_with())
    assert client.post("/predict").status_code == 200
    assert client.post("/predict").status_code == 429
    assert client.post("/v1/healthz").status_code == 200


# --- invalid settings ----------------------------------------------------------------


@pytest.mark.parametrize("name", [HEALTH, PREDICT])
@pytest.mark.parametrize(
    "path",
    [
        *(
            "health",
            "http://h/x",
            "//x",
            "/a b",
            "/a?b=c",
            "/a#b",
            "/{a}",
            "/%61",
            "/é",
        ),
        *("/adapters", "/adapters/a", "/metrics", "/metrics/json"),
    ],
)
def test_bad_alias_path_stops_startup(
    monkeypatch: pytest.MonkeyPatch, name: str, path: str
) -> None:
    monkeypatch.setenv(name, path)
    app = FastAPI()
    app.post("/invocations")(lambda: "x")
    before = [*app.router.routes]
    with pytest.raises(ConfigurationError, match=f"{name}='.*' is not allowed"):
        sagemaker.bootstrap(app)
    assert app.router.routes == before


@pytest.mark.parametrize(
    ("health", "predict", "named"),
    [
        ("/invocations", "", HEALTH),
        ("", "/ping", PREDICT),
        ("/same", "/same", PREDICT),
    ],
)
def test_path_of_two_routes_stops_startup(
    monkeypatch: pytest.MonkeyPatch, health: str, predict: str, named: str
) -> None:
    monkeypatch.setenv(HEALTH, health)
    monkeypatch.setenv(PREDICT, predict)
    with pytest.raises(ConfigurationError, match=f"{named}=.*another route"):
        app_with()


class InferenceEngine(Published):
    """An engine with a route of its own that runs the model."""

    def inference_paths(self, app: FastAPI) -> Collection[str]:
        return ["/v1/answer"]


def test_engines_inference_route_is_not_replaced_by_alias(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(PREDICT, "/v1/answer")
    app = FastAPI()
    app.post("/v1/answer")(lambda: "engine's answer")

    async def invoke() -> None:
        raise HTTPException(500)

    sagemaker.invoke(invoke)
    published: Engine = InferenceEngine(app, AdapterEngine(tmp_path))
    monkeypatch.setattr(engine_registry, "installed_engines", lambda: iter([published]))
    client = TestClient(sagemaker.bootstrap(app))
    assert client.post("/v1/answer").json() == "engine's answer"
