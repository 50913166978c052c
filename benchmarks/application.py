"""The measured app: plain, and decorated as vLLM decorates it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse

from traffic import EVENTS

_EVENT: Final = b'data: {"id": "cmpl-0", "object": "chunk", "text": " fox"}\n\n'
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


async def check_content_type(raw_request: Request) -> None:
    """Reject requests that are not JSON, as JSON APIs do in a route dependency."""
    content_type = raw_request.headers.get("content-type", "").lower()
    if content_type.split(";", maxsplit=1)[0] != "application/json":
        raise RequestValidationError(["Unsupported Media Type: only JSON is allowed."])


async def ping() -> JSONResponse:
    return JSONResponse({})


async def invocations(raw_request: Request) -> Response:
    try:
        body = await raw_request.json()
    except json.JSONDecodeError as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    if body.get("stream"):
        return StreamingResponse(stream(), media_type="text/event-stream")
    return JSONResponse({"id": "cmpl-0", "object": "result", "model": body["model"]})


async def stream() -> AsyncIterator[bytes]:
    for _ in range(EVENTS):
        yield _EVENT


def build_bare() -> FastAPI:
    """Return the app without a package for SageMaker."""
    return _build(_unchanged, _unchanged)


def build_standard() -> FastAPI:
    """Return the app decorated as in vLLM, by the package of this environment."""
    import model_hosting_container_standards.sagemaker as standards

    def decorate_invocations(handler: Callable[..., Any]) -> Callable[..., Any]:
        with_adapter = standards.inject_adapter_id(adapter_path="model")(handler)
        with_session = standards.stateful_session_manager()(with_adapter)
        return standards.register_invocation_handler(with_session)

    return standards.bootstrap(
        _build(standards.register_ping_handler, decorate_invocations)
    )


def _build(decorate_ping: Decorator, decorate_invocations: Decorator) -> FastAPI:
    router = APIRouter()
    answer_ping = decorate_ping(ping)
    router.post("/ping")(answer_ping)
    router.get("/ping")(answer_ping)
    add_route = router.post("/invocations", dependencies=[Depends(check_content_type)])
    add_route(decorate_invocations(invocations))
    app = FastAPI()
    app.include_router(router)
    return app


def _unchanged(handler: Callable[..., Any]) -> Callable[..., Any]:
    return handler
