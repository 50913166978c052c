"""Several apps in one process: whose handler belongs to whom."""

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


def test_a_method_answers_for_its_own_server_only() -> None:
    first = client_of(Server("first", with_route=False).app)
    empty = client_of(FastAPI())
    assert first.get("/ping").json() == "first"
    assert empty.get("/ping").status_code == 404


def test_apps_built_first_and_bootstrapped_later_keep_what_has_a_route() -> None:
    servers = [Server(name, with_route=True) for name in ("first", "second")]
    for server in servers:
        with client_of(server.app) as client:
            assert client.get("/ping").json() == server.name
            answer = client.post("/adapters", json={"name": server.name})
            assert answer.status_code == 200
    assert [server.loaded for server in servers] == [["first"], ["second"]]


async def of_this_module() -> str:
    return "module's"


def test_a_function_of_a_module_is_there_for_every_app() -> None:
    sagemaker.register_invocation_handler(of_this_module)
    for _ in range(2):
        assert client_of(FastAPI()).post("/invocations").json() == "module's"


def test_a_function_of_a_module_with_a_route_belongs_to_its_app() -> None:
    sagemaker.register_invocation_handler(of_this_module)
    app = FastAPI()
    app.post("/invocations")(of_this_module)
    assert client_of(app).post("/invocations").json() == "module's"
    assert client_of(FastAPI()).post("/invocations").status_code == 404


def test_a_start_that_fails_leaves_the_app_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = FastAPI()
    app.get("/ping")(of_this_module)
    sagemaker.ping(of_this_module)
    monkeypatch.setenv("CUSTOM_FASTAPI_INVOCATION_HANDLER", "nonsense")
    before = list(app.router.routes)
    with pytest.raises(HandlerResolutionError):
        sagemaker.bootstrap(app)
    assert app.router.routes == before
    monkeypatch.delenv("CUSTOM_FASTAPI_INVOCATION_HANDLER")
    assert client_of(app).get("/ping").json() == "module's"


def test_the_apps_own_names_stay_its_own() -> None:
    app, router = FastAPI(), APIRouter(prefix="/v1")
    router.get("/ping", name="ping")(of_this_module)
    app.include_router(router)
    app.post("/invocations")(of_this_module)
    sagemaker.ping(of_this_module)
    sagemaker.bootstrap(app)
    assert app.url_path_for("ping") == "/v1/ping"


def test_a_handler_with_a_route_elsewhere_gets_one_of_the_contract_too() -> None:
    app = FastAPI()

    @app.get("/health")
    @sagemaker.register_ping_handler
    async def health() -> str:
        return "healthy"

    client = client_of(app)
    assert client.get("/ping").json() == client.get("/health").json() == "healthy"
