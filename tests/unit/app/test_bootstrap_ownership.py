"""Several apps in one process: which handler belongs to which app."""

from __future__ import annotations

import pytest
from fastapi import APIRouter, FastAPI, Request

from fixtures import client_of
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.exceptions import HandlerResolutionError


class Server:
    """A server class that registers its own methods, as engines do."""

    def __init__(self, name: str, *, with_route: bool) -> None:
        self.name = name
        self.app = FastAPI()
        sagemaker.register_ping_handler(self.health)
        sagemaker.register_load_adapter_handler({"name": "body.name"})(self.load)
        if with_route:
            self.app.get("/ping")(self.health)
            self.app.post("/load")(self.load)
        self.loaded: list[str] = []

    async def health(self) -> str:
        return self.name

    async def load(self, raw_request: Request) -> None:
        self.loaded.append((await raw_request.json())["name"])


def test_method_answers_for_its_own_server_only() -> None:
    first = client_of(Server("first", with_route=False).app)
    empty = client_of(FastAPI())
    assert first.get("/ping").json() == "first"
    assert empty.get("/ping").status_code == 404


def test_apps_bootstrapped_later_keep_handlers_with_routes() -> None:
    servers = [Server(name, with_route=True) for name in ("first", "second")]
    for server in servers:
        with client_of(server.app) as client:
            assert client.get("/ping").json() == server.name
            answer = client.post("/adapters", json={"name": server.name})
            assert answer.status_code == 200
    assert [server.loaded for server in servers] == [["first"], ["second"]]


async def module_function() -> str:
    return "module's"


def test_module_function_answers_for_every_app() -> None:
    sagemaker.register_invocation_handler(module_function)
    for _ in range(2):
        assert client_of(FastAPI()).post("/invocations").json() == "module's"


def test_module_function_with_route_belongs_to_its_app() -> None:
    sagemaker.register_invocation_handler(module_function)
    app = FastAPI()
    app.post("/invocations")(module_function)
    assert client_of(app).post("/invocations").json() == "module's"
    assert client_of(FastAPI()).post("/invocations").status_code == 404


def test_failed_startup_leaves_app_unchanged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = FastAPI()
    app.get("/ping")(module_function)
    sagemaker.ping(module_function)
    monkeypatch.setenv("CUSTOM_FASTAPI_INVOCATION_HANDLER", "nonsense")
    before = list(app.router.routes)
    with pytest.raises(HandlerResolutionError):
        sagemaker.bootstrap(app)
    assert app.router.routes == before
    monkeypatch.delenv("CUSTOM_FASTAPI_INVOCATION_HANDLER")
    assert client_of(app).get("/ping").json() == "module's"


def test_apps_own_names_are_unchanged() -> None:
    app, router = FastAPI(), APIRouter(prefix="/v1")
    router.get("/ping", name="ping")(module_function)
    app.include_router(router)
    app.post("/invocations")(module_function)
    sagemaker.ping(module_function)
    sagemaker.bootstrap(app)
    assert app.url_path_for("ping") == "/v1/ping"


def test_handler_with_another_route_also_gets_contracts_route() -> None:
    app = FastAPI()

    @app.get("/health")
    @sagemaker.register_ping_handler
    async def health() -> str:
        return "healthy"

    client = client_of(app)
    assert client.get("/ping").json() == client.get("/health").json() == "healthy"
