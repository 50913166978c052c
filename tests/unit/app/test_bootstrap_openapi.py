from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request

import model_hosting_container_standards.sagemaker as sagemaker
from fixtures import Script


def test_openapi_describes_active_handlers(script: Script) -> None:
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
