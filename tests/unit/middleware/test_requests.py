"""Requests in function middleware: answering, replacing, calling twice."""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from customised import Exchange, app_with, client_with

BODY: Final = b'{ "a" : 1.0 }\n'


def test_middleware_can_respond_without_calling_next() -> None:
    seen: list[str] = []

    async def handler() -> None:
        seen.append("handler")

    async def reject(request: Any, call_next: Any) -> Response:
        return JSONResponse({"no": request.url.path}, 403, {"x-no": "1"})

    answer = client_with(handler, pre_post_process=reject).post("/invocations")
    assert (answer.status_code, answer.json()) == (403, {"no": "/invocations"})
    assert answer.headers["x-no"] == "1"
    assert seen == []


async def test_call_next_twice_works_after_reading_body() -> None:
    bodies: list[bytes] = []

    async def handler(request: Request) -> Response:
        bodies.append(await request.body())
        return Response(str(len(bodies)), 503 if len(bodies) == 1 else 200)

    async def call_twice(request: Any, call_next: Any) -> Any:
        await request.body()
        response = await call_next(request)
        return await call_next(request) if response.status_code == 503 else response

    app = app_with(handler, pre_post_process=call_twice)
    exchange = await Exchange(app, (b"a", b"b")).run()
    assert (exchange.status, exchange.content) == (200, b"2")
    assert bodies == [b"ab", b"ab"]


async def test_second_call_next_without_body_explains_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bodies: list[bytes] = []

    async def handler(request: Request) -> Response:
        bodies.append(await request.body())
        return Response(str(len(bodies)))

    async def call_twice(request: Any, call_next: Any) -> Any:
        await call_next(request)
        return await call_next(request)

    app = app_with(handler, pre_post_process=call_twice)
    exchange = await Exchange(app, (b"a", b"b")).run()
    assert (exchange.status, bodies) == (500, [b"ab"])
    assert "await request.body() before the first call" in caplog.text


def test_first_of_two_streams_can_be_returned() -> None:
    closed: list[str] = []

    async def handler(request: Request) -> Response:
        name = request.headers["by"]

        async def chunks() -> AsyncIterator[bytes]:
            try:
                for _ in range(3):
                    yield name.encode()
            finally:
                closed.append(name)

        return StreamingResponse(chunks())

    async def call_twice(request: Any, call_next: Any) -> Any:
        responses = []
        for name in (b"1", b"2"):
            scope = {**request.scope, "headers": [(b"by", name)]}
            responses.append(await call_next(Request(scope, request.receive)))
        return responses[0]

    answer = client_with(handler, pre_post_process=call_twice).post("/invocations")
    assert answer.content == b"111"
    assert sorted(closed) == ["1", "2"]


def test_new_request_can_be_passed_on() -> None:
    async def replace_request(request: Any, call_next: Any) -> Any:
        async def receive() -> Any:
            return {"type": "http.request", "body": b"other", "more_body": False}

        scope = {**request.scope, "headers": [(b"content-type", b"x/y")]}
        return await call_next(Request(scope, receive))

    answer = client_with(throttle=replace_request).post("/invocations", content=BODY)
    assert (answer.content, answer.headers["x-content-type"]) == (b"other", "x/y")


@pytest.mark.parametrize("with_receive", [True, False])
@pytest.mark.parametrize("read", [True, False])
def test_new_request_can_have_the_same_body(with_receive: bool, read: bool) -> None:
    async def replace_request(request: Any, call_next: Any) -> Any:
        if read:
            assert await request.body() == BODY
        receive = (request.receive,) if with_receive else ()
        return await call_next(Request(request.scope, *receive))

    answer = client_with(throttle=replace_request).post("/invocations", content=BODY)
    assert (answer.status_code, answer.content) == (200, BODY)


def test_body_can_be_assigned() -> None:
    async def assign(request: Any, call_next: Any) -> Any:
        request._body = (await request.body()) * 2
        return await call_next(request)

    answer = client_with(throttle=assign).post("/invocations", content=BODY)
    assert answer.content == BODY * 2
    assert answer.headers["x-content-length"] == str(len(BODY) * 2)


@pytest.mark.parametrize("is_async", [True, False])
def test_handler_sees_context_variables_and_state(is_async: bool) -> None:
    variable = contextvars.ContextVar("variable", default="unset")

    async def handler(request: Request) -> dict[str, str]:
        return {"variable": variable.get(), "state": request.state.word}

    async def set_both(request: Any, call_next: Any) -> Any:
        variable.set("set")
        request.state.word = "set"
        return await call_next(request)

    def set_in_a_thread(request: Any, call_next: Any) -> Any:
        variable.set("set")
        request.state.word = "set"
        return call_next(request)

    function = set_both if is_async else set_in_a_thread
    answer = client_with(handler, throttle=function).post("/invocations")
    assert answer.json() == {"variable": "set", "state": "set"}
