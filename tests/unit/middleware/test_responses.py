"""Changing responses in middleware."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from fastapi.responses import JSONResponse, Response, StreamingResponse

from customised import client_with, pass_on

MIDDLEWARE: Final = ("throttle", "pre_post_process")


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


# --- changes -------------------------------------------------------------------------


@pytest.mark.parametrize("place", MIDDLEWARE)
def test_status_and_headers_can_be_changed(handler: Any, place: str) -> None:
    async def change(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        assert response.status_code == 200
        assert response.headers["x-app"] == "1"
        response.status_code = 202
        response.headers["x-new"] = "new"
        response.headers["content-type"] = "text/x"
        del response.headers["x-app"]
        response.set_cookie("a", "b")
        return response

    answer = client_with(handler, **{place: change}).post("/invocations")
    assert (answer.status_code, answer.text) == (202, "one two")
    assert answer.headers["x-new"] == "new"
    assert answer.headers["content-type"] == "text/x"
    assert "x-app" not in answer.headers
    assert answer.cookies["a"] == "b"


def test_repeated_headers_stay_separate() -> None:
    async def cookies() -> Response:
        response = Response("")
        for name in ("a", "b"):
            response.set_cookie(name, name)
        return response

    answer = client_with(cookies, throttle=pass_on).post("/invocations")
    assert {*answer.cookies} == {"a", "b"}


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b"other\x00", b"other\x00"),
        ("ö", "ö".encode()),
        ({"a": [None]}, b'{"a":[null]}'),
        ([], b"[]"),
        (b"", b""),
    ],
)
def test_body_can_be_assigned(handler: Any, body: Any, sent: bytes) -> None:
    async def assign(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.body = body
        return response

    answer = client_with(handler, pre_post_process=assign).post("/invocations")
    assert answer.content == sent
    assert answer.headers["content-length"] == str(len(sent))
    assert answer.headers["x-app"] == "1"


def test_body_can_be_read() -> None:
    async def double(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.body = response.body * 2
        return response

    answer = client_with(whole, pre_post_process=double).post("/invocations")
    assert answer.text == "one twoone two"


@pytest.mark.parametrize("as_starlette_does", [True, False])
def test_body_can_be_read_as_chunks(handler: Any, as_starlette_does: bool) -> None:
    async def read(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        content = b"".join([chunk async for chunk in response.body_iterator])
        if not as_starlette_does:
            response.body = content.upper()
            return response
        headers = dict(response.headers)
        return Response(content.upper(), response.status_code, headers)

    answer = client_with(handler, pre_post_process=read).post("/invocations")
    assert answer.text == "ONE TWO"
    assert answer.headers["x-app"] == "1"
    assert answer.headers["content-length"] == "7"


@pytest.mark.parametrize("place", MIDDLEWARE)
def test_new_response_can_be_returned(handler: Any, place: str) -> None:
    async def other(request: Any, call_next: Any) -> Any:
        await call_next(request)
        return JSONResponse({"other": True}, 203)

    answer = client_with(handler, **{place: other}).post("/invocations")
    assert (answer.status_code, answer.json()) == (203, {"other": True})
    assert "x-app" not in answer.headers
