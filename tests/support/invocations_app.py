"""An app whose ``/invocations`` is decorated, and handlers for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from fastapi import APIRouter, FastAPI, Request
from fastapi.testclient import TestClient
from pydantic import BaseModel

from model_hosting_container_standards import sagemaker

C = TypeVar("C", bound=Callable[..., Any])

ADAPTER: Final = "X-Amzn-SageMaker-Adapter-Identifier"
ATTRIBUTES: Final = "X-Amzn-SageMaker-Custom-Attributes"
SESSION: Final = "X-Amzn-SageMaker-Session-Id"
NOT_ENABLED: Final = "Invalid payload. stateful sessions not enabled"


class Completion(BaseModel):
    model: str | None = None
    prompt: str = ""


async def echo(raw_request: Request) -> dict[str, Any]:
    """Return the parts of the request that reached the handler."""
    raw = await raw_request.body()
    return {
        "raw": raw.decode("latin-1"),
        "type": raw_request.headers.get("content-type"),
        "length": raw_request.headers.get("content-length"),
    }


async def parse(raw_request: Request) -> Any:
    return await raw_request.json()


async def take_model(completion: Completion, raw_request: Request) -> dict[str, Any]:
    return {"field": completion.model, "json": await raw_request.json()}


def of_vllm(endpoint: C) -> C:
    """Mark an endpoint as one of vLLM's own, by its module."""
    endpoint.__module__ = "vllm.entrypoints.openai.api_server"
    return endpoint


def client_of(
    handler: Callable[..., Any], *decorators: Callable[..., Any]
) -> TestClient:
    """Return a client of an app whose /invocations has these decorators."""
    app, router = FastAPI(), APIRouter()
    for decorator in decorators:
        handler = decorator(handler)
    router.post("/invocations")(sagemaker.register_invocation_handler(handler))
    app.include_router(router)
    return TestClient(sagemaker.bootstrap(app))
