"""Security dependencies stay in force when a route is replaced or rerouted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Security
from fastapi.security import APIKeyHeader

import model_hosting_container_standards.engines.registry as engine_registry
from fixtures import Includer, Script, client_of, copy_flat, include, include_nested
from invocations_app import Completion, of_vllm
from mhcs.vllm.engine import VLLM
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.exceptions import HandlerNotCallableError

KEY = {"x-key": "right"}


def require_key(
    key: str = Security(APIKeyHeader(name="x-key", auto_error=False)),
) -> None:
    if key != "right":
        raise HTTPException(401)


def note_visit(request: Request) -> None:
    request.app.state.visited = True


DEPENDENCIES = [Security(require_key), Depends(note_visit)]


def engines() -> str:
    return "engine's"


@of_vllm
def run_model(completion: Completion) -> str:
    return "engine's"


def protect_route(router: APIRouter) -> APIRouter:
    router.post("/invocations", dependencies=DEPENDENCIES)(engines)
    return router


def protect_router(router: APIRouter) -> APIRouter:
    inner = APIRouter(dependencies=DEPENDENCIES)
    inner.post("/invocations")(engines)
    router.include_router(inner)
    return router


@pytest.mark.parametrize(
    ("protect", "includer"),
    [
        (protect_route, include),
        (protect_route, include_nested),
        (protect_route, copy_flat),
        (protect_router, include),
        (protect_router, include_nested),
    ],
)
def test_replaced_route_keeps_security_and_drops_other_dependencies(
    script: Script, protect: Callable[[APIRouter], APIRouter], includer: Includer
) -> None:
    script("def invoke(): return 'customer'")
    app = FastAPI()
    includer(app, protect(APIRouter()))
    client = client_of(app)
    assert client.post("/invocations").status_code == 401
    assert client.post("/invocations", headers=KEY).json() == "customer"
    assert not hasattr(app.state, "visited")


def test_apps_own_dependencies_stay(script: Script) -> None:
    script("def invoke(): return 'customer'")
    app = FastAPI(dependencies=[Depends(note_visit)])
    app.post("/invocations")(engines)
    assert client_of(app).post("/invocations").json() == "customer"
    assert app.state.visited


def test_security_of_another_method_does_not_apply(script: Script) -> None:
    script("def invoke(): return 'customer'")
    app = FastAPI()
    app.get("/invocations", dependencies=DEPENDENCIES)(engines)
    app.post("/invocations")(engines)
    assert client_of(app).post("/invocations").json() == "customer"


@pytest.fixture
def protected_app(monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """Return an app with a key on /invocations and on another route."""

    class Engine(VLLM):
        def owns(self, app: FastAPI) -> bool:
            return True

    engine: Engine = Engine()
    monkeypatch.setattr(engine_registry, "installed_engines", lambda: [engine])
    app = FastAPI()
    app.include_router(protect_route(APIRouter()))
    app.post("/v1/completions")(run_model)
    app.post("/v1/embeddings", dependencies=DEPENDENCIES[:1])(run_model)
    return app


@pytest.mark.parametrize(
    ("route", "headers", "status"),
    [
        ("/v1/completions", {}, 400),
        ("/v1/completions", KEY, 400),
        ("/v1/embeddings", {}, 401),
        ("/v1/embeddings", KEY, 200),
    ],
)
def test_route_attribute_does_not_bypass_security(
    protected_app: FastAPI, route: str, headers: dict[str, str], status: int
) -> None:
    attribute = {"X-Amzn-SageMaker-Custom-Attributes": f"route={route}"}
    client = client_of(protected_app)
    headers = {**attribute, **headers}
    answer: Any = client.post("/invocations", json={}, headers=headers)
    assert answer.status_code == status


def test_path_spec_does_not_bypass_security(
    protected_app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUSTOM_FASTAPI_INVOCATION_HANDLER", "/v1/completions")
    with pytest.raises(HandlerNotCallableError, match="bypass it"):
        sagemaker.bootstrap(protected_app)
    monkeypatch.setenv("CUSTOM_FASTAPI_INVOCATION_HANDLER", "/v1/embeddings")
    client = client_of(protected_app)
    assert client.post("/invocations", json={}).status_code == 401
    assert client.post("/invocations", json={}, headers=KEY).json() == "engine's"
