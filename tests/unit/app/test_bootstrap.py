from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.testclient import TestClient
from starlette.responses import Response

import model_hosting_container_standards.sagemaker as sagemaker
from fixtures import Includer, Script, client_of
from model_hosting_container_standards.exceptions import ConfigurationError


def test_engines_routes_answer_without_handlers(engine_app: FastAPI) -> None:
    client = client_of(engine_app)
    assert client.get("/ping").json() == "engine's ping"
    assert client.post("/invocations").json() == "engine's invocations"


SCRIPT_SHORT = """
def ping(): return "script's short ping"
def invoke(): return "script's short invoke"
"""
SCRIPT_EXPLICIT = (
    SCRIPT_SHORT
    + """
def custom_sagemaker_ping_handler(): return "script's ping"
def custom_sagemaker_invocation_handler(): return "script's invoke"
"""
)
SCRIPT_DECORATED = (
    """
from model_hosting_container_standards import sagemaker
@sagemaker.ping
def decorated_ping(): return "decorated ping"
@sagemaker.invoke
def decorated_invoke(): return "decorated invoke"
"""
    + SCRIPT_EXPLICIT
)
SCRIPT_NAMED = (
    SCRIPT_DECORATED
    + """
def named_ping(): return "named ping"
def named_invoke(): return "named invoke"
"""
)


def test_precedence_of_handler_sources(
    engine_app: FastAPI,
    includer: Includer,
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUSTOM_FASTAPI_PING_HANDLER", "model.py:named_ping")
    monkeypatch.setenv("CUSTOM_FASTAPI_INVOCATION_HANDLER", "model:named_invoke")
    script(SCRIPT_NAMED)
    register_framework_handlers()
    client = client_of(engine_app)
    assert client.get("/ping").json() == "named ping"
    assert client.post("/invocations").json() == "named invoke"


@pytest.mark.parametrize(
    ("source", "ping", "invoke"),
    [
        (SCRIPT_DECORATED, "decorated ping", "decorated invoke"),
        (SCRIPT_EXPLICIT, "script's ping", "script's invoke"),
        (SCRIPT_SHORT, "script's short ping", "script's short invoke"),
        ("", "framework's ping", "framework's invoke"),
    ],
)
def test_precedence_of_sources_without_environment(
    engine_app: FastAPI, script: Script, source: str, ping: str, invoke: str
) -> None:
    script(source)
    register_framework_handlers()
    client = client_of(engine_app)
    assert client.get("/ping").json() == ping
    assert client.post("/invocations").json() == invoke


def test_customers_handler_replaces_only_its_own_route(
    engine_app: FastAPI, script: Script
) -> None:
    script("def invoke(): return 'mine'")
    client = client_of(engine_app)
    assert client.get("/ping").json() == "engine's ping"
    assert client.post("/invocations").json() == "mine"


def test_imported_names_are_not_handlers(engine_app: FastAPI, script: Script) -> None:
    script("def ping(): return 'sibling'", "helper_of_test.py")
    script(
        "from model_hosting_container_standards.sagemaker import invoke\n"
        "from helper_of_test import ping\n"
    )
    client = client_of(engine_app)
    assert client.get("/ping").json() == "engine's ping"
    assert client.post("/invocations").json() == "engine's invocations"


def test_last_registration_wins(engine_app: FastAPI) -> None:
    for text in ("first", "second"):
        sagemaker.custom_ping_handler(lambda text=text: text)
    assert client_of(engine_app).get("/ping").json() == "second"


@pytest.mark.parametrize("parentheses", [True, False])
def test_framework_handler_without_route_gets_one(parentheses: bool) -> None:
    app = FastAPI()

    async def invoke(request: Request) -> str:
        return "framework"

    if parentheses:
        sagemaker.register_invocation_handler()(invoke)
    else:
        sagemaker.register_invocation_handler(invoke)
    sagemaker.register_handler("ping")(lambda: "up")
    client = client_of(app)
    assert client.post("/invocations").json() == "framework"
    assert client.get("/ping").json() == "up"


def test_framework_handler_keeps_its_route(includer: Includer) -> None:
    app, router = FastAPI(), APIRouter()

    @router.post("/invocations", status_code=202)
    @sagemaker.register_invocation_handler
    async def invocations() -> str:
        return "with its own status"

    includer(app, router)
    response = client_of(app).post("/invocations")
    assert (response.status_code, response.json()) == (202, "with its own status")


def test_apps_do_not_share_framework_handlers() -> None:
    first, second, third = (
        client_of(build_app(name)) for name in ("first", "second", None)
    )
    assert first.post("/invocations").json() == "first"
    assert second.post("/invocations").json() == "second"
    assert third.post("/invocations").status_code == 404


def build_app(name: str | None) -> FastAPI:
    if name is not None:

        @sagemaker.register_invocation_handler
        async def invocations() -> str:
            return name

    return FastAPI()


def test_apps_of_one_process_share_customers_handlers() -> None:
    sagemaker.invoke(lambda: "customer's")
    for _ in range(2):
        assert client_of(FastAPI()).post("/invocations").json() == "customer's"


def test_bootstrap_twice_changes_nothing(engine_app: FastAPI, script: Script) -> None:
    script(SCRIPT_SHORT)
    assert sagemaker.bootstrap(engine_app) is engine_app
    before = list(engine_app.router.routes)
    sagemaker.ping(lambda: "too late")
    assert sagemaker.bootstrap(engine_app) is engine_app
    assert engine_app.router.routes == before


def test_bootstrap_rejects_other_apps() -> None:
    with pytest.raises(TypeError, match="takes a FastAPI app, not dict"):
        sagemaker.bootstrap({})  # type: ignore[arg-type]


def test_middleware_can_be_added_after_bootstrap(engine_app: FastAPI) -> None:
    sagemaker.bootstrap(engine_app)
    seen = []

    @engine_app.middleware("http")
    async def note(request: Request, call_next: Any) -> Response:
        seen.append(request.url.path)
        response: Response = await call_next(request)
        return response

    TestClient(engine_app).get("/ping")
    assert seen == ["/ping"]


def register_framework_handlers() -> None:
    sagemaker.register_ping_handler(lambda: JSONResponse("framework's ping"))
    sagemaker.register_invocation_handler(
        lambda: PlainTextResponse('"framework\'s invoke"')
    )


@pytest.mark.parametrize("source", ["", SCRIPT_SHORT])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_ping_answers_every_method(
    engine_app: FastAPI, script: Script, source: str, method: str
) -> None:
    script(source)
    assert client_of(engine_app).request(method, "/ping").status_code == 200


@pytest.mark.parametrize("path", ["/ping", "/invocations"])
def test_other_methods_are_a_405(engine_app: FastAPI, path: str) -> None:
    assert client_of(engine_app).put(path).status_code == 405


def test_catch_all_route_does_not_hide_ping() -> None:
    app = FastAPI()
    app.get("/ping")(lambda: "ping")
    app.api_route("/{path:path}", methods=["POST"])(lambda path: f"proxy {path}")
    client = client_of(app)
    assert client.get("/ping").json() == client.post("/ping").json() == "ping"


def test_failed_bootstrap_leaves_app_unchanged(
    engine_app: FastAPI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The error occurs after routes, middleware and lifespan have been changed."""
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")
    monkeypatch.setenv("SAGEMAKER_SESSIONS_PATH", str(tmp_path / "sessions"))
    monkeypatch.setenv("MHCS_DRAIN_SECONDS", "x")
    sagemaker.register_load_adapter_handler({})(lambda: None)
    router = engine_app.router
    routes, handlers = [*router.routes], {**engine_app.exception_handlers}
    before = [{**vars(engine_app)}, {**vars(router)}]
    with pytest.raises(ConfigurationError, match="MHCS_DRAIN_SECONDS"):
        sagemaker.bootstrap(engine_app)
    assert [vars(engine_app), vars(router)] == before
    assert (router.routes, engine_app.exception_handlers) == (routes, handlers)
    monkeypatch.delenv("MHCS_DRAIN_SECONDS")
    with TestClient(sagemaker.bootstrap(engine_app)) as client:
        assert client.get("/ping").status_code == 200


def test_catch_all_route_does_not_hide_adapter_routes() -> None:
    app = FastAPI()
    app.post("/{path:path}")(lambda path: f"proxy {path}")

    @sagemaker.register_load_adapter_handler({})
    async def load(raw_request: Request) -> None: ...

    with client_of(app) as client:
        answer = client.post("/adapters", json={"name": "a"})
    assert answer.text == "Adapter a registered"


def test_mounted_app_is_not_a_handler(caplog: pytest.LogCaptureFixture) -> None:
    app = FastAPI()
    app.mount("/", FastAPI())
    assert client_of(app).get("/ping").status_code == 404
    assert "No handler answers /ping" in caplog.text


def test_endpoint_without_module_works() -> None:
    def endpoint() -> str:
        return "x"

    endpoint.__module__ = None  # type: ignore[assignment]
    app = FastAPI()
    app.get("/ping")(endpoint)
    assert client_of(app).get("/ping").json() == "x"
