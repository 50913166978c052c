"""Errors of middleware, and of the app inside."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.testclient import TestClient
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.types import Message, Receive, Scope, Send

import model_hosting_container_standards.sagemaker as sagemaker
from customised import DECORATORS, KINDS, PassOn, app_with, client_with

SECRET: Final = "the text of an error"
MIDDLEWARE: Final = ("throttle", "pre_post_process")
OUR_LOGGER: Final = "model_hosting_container_standards"


async def stream() -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    return StreamingResponse(chunks(), media_type="text/plain", headers={"x-app": "1"})


async def whole() -> Response:
    return Response("one two", media_type="text/plain", headers={"x-app": "1"})


@pytest.fixture(params=[stream, whole])
def handler(request: pytest.FixtureRequest) -> Any:
    return request.param


def raising(kind: str, error: Exception, *, after: bool) -> Any:
    """Return a middleware that raises before or after calling the app."""
    return KINDS_OF_MIDDLEWARE[kind](error, after)


def function(error: Exception, after: bool) -> Any:
    async def fail(request: Any, call_next: Any) -> Any:
        if after:
            await call_next(request)
        raise error

    return fail


def function_in_a_thread(error: Exception, after: bool) -> Any:
    def fail(request: Any, call_next: Any) -> Any:
        if after:
            call_next(request)
        raise error

    return fail


def starlette_class(error: Exception, after: bool) -> Any:
    return functools.partial(BaseHTTPMiddleware, dispatch=function(error, after))


def plain_class(error: Exception, after: bool) -> Any:
    class Fail(PassOn):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            async def discard(message: Message) -> None: ...

            if after:
                await self.app(scope, receive, discard)
            raise error

    return Fail


KINDS_OF_MIDDLEWARE: Final = {
    "function": function,
    "function in a thread": function_in_a_thread,
    "class": plain_class,
    "Starlette's class": starlette_class,
}


def engine_client(handler: Any, place: str, middleware: Any) -> TestClient:
    """Return a client of an app with its own error format."""
    DECORATORS[place](middleware)
    app = FastAPI()
    app.post("/invocations")(handler)

    @app.exception_handler(HTTPException)
    async def format_http_error(request: Request, error: HTTPException) -> Response:
        content = {"error": {"message": error.detail}}
        return JSONResponse(content, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def format_error(request: Request, error: Exception) -> Response:
        return JSONResponse({"engine": type(error).__name__}, 500)

    return TestClient(sagemaker.bootstrap(app), raise_server_exceptions=False)


@pytest.mark.parametrize("kind", KINDS_OF_MIDDLEWARE)
@pytest.mark.parametrize("place", MIDDLEWARE)
@pytest.mark.parametrize("after", [True, False])
def test_http_exception_becomes_response(
    handler: Any, place: str, kind: str, after: bool
) -> None:
    error = HTTPException(429, "slowly", {"Retry-After": "7"})
    middleware = raising(kind, error, after=after)
    answer = client_with(handler, **{place: middleware}).post("/invocations")
    assert (answer.status_code, answer.json()) == (429, {"detail": "slowly"})
    assert answer.headers["retry-after"] == "7"
    assert "x-app" not in answer.headers


@pytest.mark.parametrize("kind", KINDS_OF_MIDDLEWARE)
@pytest.mark.parametrize("place", MIDDLEWARE)
@pytest.mark.parametrize("after", [True, False])
def test_http_exception_has_engines_error_format(
    handler: Any, place: str, kind: str, after: bool
) -> None:
    error = HTTPException(429, "slowly", {"Retry-After": "7"})
    client = engine_client(handler, place, raising(kind, error, after=after))
    answer = client.post("/invocations")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json() == {"error": {"message": "slowly"}}


@pytest.mark.parametrize("kind", KINDS_OF_MIDDLEWARE)
@pytest.mark.parametrize("place", MIDDLEWARE)
@pytest.mark.parametrize("after", [True, False])
def test_other_error_is_a_500_without_its_text(
    handler: Any,
    place: str,
    kind: str,
    after: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    middleware = raising(kind, RuntimeError(SECRET), after=after)
    answer = client_with(handler, **{place: middleware}).post("/invocations")
    assert answer.status_code == 500
    assert SECRET not in answer.text
    ours = [record for record in caplog.records if record.name.startswith(OUR_LOGGER)]
    assert [r.levelno for r in ours if r.exc_info] == [logging.ERROR]
    assert f"RuntimeError: {SECRET}" in caplog.text
    assert "test_errors.py" in caplog.text


@pytest.mark.parametrize("returned", [None, "text", {"a": 1}, 7])
@pytest.mark.parametrize("after", [True, False])
def test_result_that_is_not_a_response_is_a_500(
    returned: Any, after: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def forgetful(request: Any, call_next: Any) -> Any:
        if after:
            await call_next(request)
        return returned

    answer = client_with(stream, throttle=forgetful).post("/invocations")
    assert answer.status_code == 500
    assert "forgetful" not in answer.text
    kind = type(returned).__name__
    assert f"returned {kind}: return what call_next(request) returned" in caplog.text


async def failing() -> None:
    raise KeyError(SECRET)


async def rejecting() -> None:
    raise HTTPException(418, "teapot", {"x-tea": "1"})


@pytest.mark.parametrize("kind", KINDS)
def test_apps_errors_are_unchanged(kind: str) -> None:
    for place, registered in KINDS[kind].items():
        DECORATORS[place](registered)
    app = FastAPI()
    app.post("/invocations")(failing)

    @app.exception_handler(Exception)
    async def format_error(request: Request, error: Exception) -> Response:
        return JSONResponse({"engine": type(error).__name__}, 500)

    sagemaker.bootstrap(app)
    client = TestClient(app, raise_server_exceptions=False)
    answer = client.post("/invocations")
    assert (answer.status_code, answer.json()) == (500, {"engine": "KeyError"})
    with pytest.raises(KeyError, match=SECRET):
        TestClient(app).post("/invocations")


@pytest.mark.parametrize("place", MIDDLEWARE)
@pytest.mark.parametrize("in_a_thread", [True, False])
def test_middleware_can_replace_apps_error(place: str, in_a_thread: bool) -> None:
    async def guard(request: Any, call_next: Any) -> Any:
        try:
            return await call_next(request)
        except KeyError as error:
            raise HTTPException(503, "try later") from error

    def guard_in_a_thread(request: Any, call_next: Any) -> Any:
        try:
            return call_next(request)
        except KeyError as error:
            raise HTTPException(503, "try later") from error

    function = guard_in_a_thread if in_a_thread else guard
    answer = client_with(failing, **{place: function}).post("/invocations")
    assert (answer.status_code, answer.json()) == (503, {"detail": "try later"})


@pytest.mark.parametrize("place", MIDDLEWARE)
def test_apps_http_exception_is_seen_as_response(place: str) -> None:
    seen: list[int] = []

    async def look(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        seen.append(response.status_code)
        return response

    client = client_with(rejecting, **{place: look})
    answer = client.post("/invocations")
    assert (answer.status_code, answer.json()) == (418, {"detail": "teapot"})
    assert answer.headers["x-tea"] == "1"
    assert client.get("/unknown").status_code == 404
    assert seen == [418, 404]


@pytest.mark.parametrize("place", MIDDLEWARE)
def test_headers_of_http_exception_survive_engines_format(place: str) -> None:
    error = HTTPException(429, "slowly", {"Retry-After": "7", "Content-Type": "a/b"})
    DECORATORS[place](raising("function", error, after=False))
    app = FastAPI()
    app.post("/invocations")(whole)

    @app.exception_handler(HTTPException)
    async def format_http_error(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": error.detail}, error.status_code)

    answer = TestClient(sagemaker.bootstrap(app)).post("/invocations")
    assert (answer.status_code, answer.json()) == (429, {"error": "slowly"})
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["content-type"] == "application/json"


def test_detail_is_returned_even_if_apps_handler_fails() -> None:
    async def refuse(request: Request) -> None:
        raise HTTPException(422, {"field": "prompt"}, {"x-why": "1"})

    app = app_with(input_formatter=refuse)

    @app.exception_handler(HTTPException)
    async def answer(request: Request, error: HTTPException) -> Response:
        return Response("engine: " + error.detail, error.status_code)

    answered = TestClient(app).post("/invocations")
    assert answered.status_code == 422
    assert answered.json() == {"detail": {"field": "prompt"}}
    assert answered.headers["x-why"] == "1"
