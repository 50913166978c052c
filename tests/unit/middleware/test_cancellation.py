"""Abandoned responses, and late or repeated calls of ``call_next``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

import model_hosting_container_standards.sagemaker as sagemaker
from customised import DECORATORS, PATIENCE_S, Exchange, app_with, client_with


async def yield_when_cancelled() -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            yield b"aborted"

    return StreamingResponse(chunks())


async def replace_response(response: Any) -> Response:
    return JSONResponse("other")


async def call_and_replace_response(request: Any, call_next: Any) -> Response:
    await call_next(request)
    return JSONResponse("other")


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
@pytest.mark.parametrize(
    "places",
    [
        {"output_formatter": replace_response},
        {"pre_post_process": call_and_replace_response},
        {"throttle": call_and_replace_response, "output_formatter": replace_response},
    ],
)
async def test_response_does_not_wait_for_aborted_handler(
    places: dict[str, Any], spec_version: str
) -> None:
    exchange = Exchange(
        app_with(yield_when_cancelled, **places), specification=spec_version
    )
    await asyncio.wait_for(exchange.run(), PATIENCE_S)
    assert exchange.content == b'"other"'
    assert exchange.is_complete


class Timeout:
    """An engine's middleware that answers 504 after a timeout."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            await asyncio.wait_for(self.app(scope, receive, send), 0.05)
        except asyncio.TimeoutError:
            await Response(status_code=504)(scope, receive, send)


async def test_engines_timeout_cancels_reading_formatter() -> None:
    async def read(response: Any) -> None:
        response.body = b"".join([chunk async for chunk in response.body_iterator])

    app = app_with(yield_when_cancelled, output_formatter=read)
    app.add_middleware(Timeout)
    exchange = Exchange(app)
    await asyncio.wait_for(exchange.run(), PATIENCE_S)
    assert exchange.status == 504


async def show_request(request: Request) -> Any:
    return {"path": request.url.path, "body": (await request.body()).decode()}


def client_with_new_path(middleware: Any) -> TestClient:
    DECORATORS["pre_post_process"](middleware)
    app = FastAPI()
    app.post("/new")(show_request)
    return TestClient(sagemaker.bootstrap(app))


def test_second_call_can_change_path() -> None:
    async def fall_back(request: Any, call_next: Any) -> Response:
        await request.body()
        response: Response = await call_next(request)
        if response.status_code == 404:
            request.scope["path"] = "/new"
            response = await call_next(request)
        return response

    answer = client_with_new_path(fall_back).post("/old", content=b"x")
    assert answer.json() == {"path": "/new", "body": "x"}


def test_second_call_with_new_request_has_body() -> None:
    async def fall_back(request: Any, call_next: Any) -> Any:
        await request.body()
        await call_next(request)
        changed = {**request.scope, "path": "/new"}
        return await call_next(Request(changed, request.receive))

    answer = client_with_new_path(fall_back).post("/old", content=b"x")
    assert answer.json() == {"path": "/new", "body": "x"}


async def test_call_next_after_request_ended_is_an_error() -> None:
    late: list[Any] = []

    async def keep(request: Any, call_next: Any) -> Response:
        late.append((request, call_next))
        return Response("kept")

    exchange = Exchange(app_with(pre_post_process=keep))
    await exchange.run()
    [(request, call_next)] = late
    with pytest.raises(RuntimeError, match="after the request had ended"):
        await call_next(request)


# --- responses of formatters ---------------------------------------------------------


def test_status_without_body_sends_no_body() -> None:
    async def empty(response: Any) -> None:
        response.status_code = 204

    answer = client_with(output_formatter=empty).post("/invocations", content=b"x")
    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-length" not in answer.headers


def test_plain_iterator_is_sent() -> None:
    def repeat(response: Any) -> None:
        response.body_iterator = iter([b"a", "b"])

    answer = client_with(output_formatter=repeat).post("/invocations")
    assert answer.content == b"ab"


@pytest.mark.parametrize("assigned", [b"one", "one", 1])
def test_invalid_iterator_is_an_error_before_response_starts(assigned: Any) -> None:
    async def mistake(response: Any) -> None:
        response.body_iterator = assigned

    answer = client_with(output_formatter=mistake).post("/invocations")
    assert answer.status_code == 500


def test_new_content_drops_content_encoding() -> None:
    async def zipped() -> Response:
        return Response(b"\x1f\x8b", headers={"content-encoding": "gzip"})

    async def replace(response: Any) -> Any:
        return {"new": True}

    answer = client_with(zipped, output_formatter=replace).post("/invocations")
    assert answer.json() == {"new": True}
    assert "content-encoding" not in answer.headers
