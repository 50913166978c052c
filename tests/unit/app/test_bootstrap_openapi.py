from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request

import model_hosting_container_standards.sagemaker as sagemaker
from fixtures import Script


def test_openapi_describes_active_handlers(script: Script) -> None:
    script('def ping():\n    """A ping."""\ndef invoke():\n    """An invoke."""\n')
    app = FastAPI()

    @app.post("/ping")
    @app.get("/ping")
    def ping() -> None:
        """Engine route."""

    @app.post("/invocations")
    def invocations() -> None:
        """Engine route."""

    sagemaker.bootstrap(app)
    paths = app.openapi()["paths"]
    assert paths["/ping"]["get"]["description"] == "A ping."
    assert paths["/ping"]["post"]["description"] == "A ping."
    assert paths["/invocations"]["post"]["description"] == "An invoke."


def test_decorators_do_not_change_openapi() -> None:
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
