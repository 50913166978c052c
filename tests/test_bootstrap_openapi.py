from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Security
from fastapi.security import APIKeyHeader

import model_hosting_container_standards.sagemaker as sagemaker
from conftest import Includer, Script, client_of, copy_flat


def require_key(
    key: str = Security(APIKeyHeader(name="x-key", auto_error=False)),
) -> None:
    if key != "right":
        raise HTTPException(401)


def note_visit(request: Request) -> None:
    request.app.state.visited = True


@pytest.mark.parametrize("on", ["route", "router"])
def test_security_of_a_replaced_route_stays_and_other_dependencies_go(
    script: Script, includer: Includer, on: str
) -> None:
    if on == "router" and includer is copy_flat:
        pytest.skip("a router's dependencies are lost when its routes are copied")
    script("def invoke(): return 'mine'")
    app, router = FastAPI(), APIRouter()
    dependencies = [Security(require_key), Depends(note_visit)]
    inner = APIRouter(dependencies=dependencies) if on == "router" else router
    options = {"dependencies": dependencies} if on == "route" else {}
    inner.post("/invocations", **options)(lambda: "engine's")  # type: ignore[arg-type]
    if inner is not router:
        router.include_router(inner)
    includer(app, router)
    client = client_of(app)
    assert client.post("/invocations").status_code == 401
    answer = client.post("/invocations", headers={"x-key": "right"})
    assert answer.json() == "mine"
    assert not hasattr(app.state, "visited")


def test_dependencies_of_the_app_itself_stay(script: Script) -> None:
    script("def invoke(): return 'mine'")
    app = FastAPI(dependencies=[Depends(note_visit)])
    app.post("/invocations")(lambda: "engine's")
    assert client_of(app).post("/invocations").json() == "mine"
    assert app.state.visited


def test_openapi_shows_who_answers(script: Script) -> None:
    script('def ping():\n    """Mine."""\ndef invoke():\n    """Mine too."""\n')
    app = FastAPI()

    @app.post("/ping")
    @app.get("/ping")
    def ping() -> None:
        """The engine's."""

    @app.post("/invocations")
    def invocations() -> None:
        """The engine's."""

    sagemaker.bootstrap(app)
    paths = app.openapi()["paths"]
    assert paths["/ping"]["get"]["description"] == "Mine."
    assert paths["/ping"]["post"]["description"] == "Mine."
    assert paths["/invocations"]["post"]["description"] == "Mine too."


def test_openapi_of_a_decorated_engine_is_what_it_was() -> None:
    def build(*decorators: Callable[..., Any]) -> FastAPI:
        async def invocations(raw_request: Request, n: int = 1) -> dict[str, int]:
            """Run the model."""
            return {"n": n}

        handler: Any = invocations
        for decorator in decorators:
            handler = decorator(handler)
        app = FastAPI()
        app.post("/invocations")(handler)
        return app

    decorated = build(
        sagemaker.inject_adapter_id("model"),
        sagemaker.stateful_session_manager(),
        sagemaker.register_invocation_handler,
    )
    assert sagemaker.bootstrap(decorated).openapi() == build().openapi()
