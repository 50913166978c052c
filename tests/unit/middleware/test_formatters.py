"""Input formatters: requests, and errors of formatters."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import pytest
from fastapi import HTTPException, Request
from fastapi.responses import Response
from pydantic import BaseModel

from customised import Exchange, app_with, client_with, leave

SECRET: Final = "the text of an error"
INTERNAL_ERROR: Final = {"detail": "Internal Server Error"}
BODY: Final = b'{ "a" : 1.0 }\n'


def in_a_thread(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return function


def on_the_loop(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    async def formatter(message: Any) -> Any:
        return function(message)

    return formatter


@pytest.fixture(params=[in_a_thread, on_the_loop])
def make_formatter(request: pytest.FixtureRequest) -> Any:
    """Return a function that makes an async or a sync formatter of a function."""
    return request.param


# --- requests ------------------------------------------------------------------------


def test_unchanged_request_passes(make_formatter: Any) -> None:
    client = client_with(input_formatter=make_formatter(lambda request: None))
    answer = client.post("/invocations", content=BODY)
    assert answer.content == BODY
    assert answer.headers["x-content-length"] == str(len(BODY))


@pytest.mark.parametrize("same", [True, False])
def test_body_can_be_assigned(make_formatter: Any, same: bool) -> None:
    def assign(request: Any) -> Any:
        request._body = b"a longer body than it was"
        return request if same else None

    answer = client_with(input_formatter=make_formatter(assign)).post(
        "/invocations", content=BODY
    )
    assert answer.text == "a longer body than it was"
    assert answer.headers["x-content-length"] == "25"
    assert answer.headers["x-content-type"] == "none"


async def test_body_can_be_read_and_assigned() -> None:
    async def double(request: Any) -> None:
        request._body = (await request.body()) * 2

    app = app_with(input_formatter=double)
    exchange = await Exchange(app, (BODY[:4], BODY[4:])).run()
    assert exchange.content == BODY * 2


@pytest.mark.parametrize("same", [True, False])
def test_headers_can_be_changed(make_formatter: Any, same: bool) -> None:
    def change(request: Any) -> Any:
        request.scope["headers"] = [(b"by", b"it"), (b"content-length", b"14")]
        return request if same else None

    answer = client_with(input_formatter=make_formatter(change)).post(
        "/invocations", content=BODY
    )
    assert (answer.content, answer.headers["x-by"]) == (BODY, "it")


def test_path_can_be_changed(make_formatter: Any) -> None:
    def change(request: Any) -> None:
        request.scope["path"] = "/invocations"

    client = client_with(input_formatter=make_formatter(change))
    assert client.post("/predict", content=BODY).content == BODY


@pytest.mark.parametrize("receive_kind", ["same", "own", "none"])
def test_new_request_can_be_returned(make_formatter: Any, receive_kind: str) -> None:
    async def receive() -> Any:
        return {"type": "http.request", "body": b"own", "more_body": False}

    def other(request: Any) -> Request:
        scope = {**request.scope, "headers": [(b"by", b"it")]}
        receives = {"same": (request.receive,), "own": (receive,), "none": ()}
        return Request(scope, *receives[receive_kind])

    answer = client_with(input_formatter=make_formatter(other)).post(
        "/invocations", content=BODY
    )
    assert answer.status_code == 200
    assert answer.content == (b"own" if receive_kind == "own" else BODY)
    assert answer.headers["x-by"] == "it"


@pytest.mark.parametrize(
    ("content", "sent", "content_type"),
    [
        (b"bytes\x00", b"bytes\x00", "text/x"),
        (bytearray(b"bytes"), b"bytes", "text/x"),
        (b"", b"", "text/x"),
        ("söme text", "söme text".encode(), "text/x"),
        ({"a": [1, None, "ö"]}, '{"a":[1,null,"ö"]}'.encode(), "application/json"),
        ([], b"[]", "application/json"),
        ({}, b"{}", "application/json"),
    ],
)
@pytest.mark.parametrize("read", [True, False])
async def test_content_can_be_returned(
    content: Any, sent: bytes, content_type: str, read: bool
) -> None:
    async def replace(request: Any) -> Any:
        if read:
            await request.body()
        return content

    exchange = Exchange(app_with(input_formatter=replace), (BODY[:4], BODY[4:]))
    headers = [(b"content-type", b"text/x"), (b"content-length", b"14")]
    exchange.scope["headers"] = headers
    await exchange.run()
    assert exchange.content == sent
    assert exchange.headers["x-content-length"] == str(len(sent))
    assert exchange.headers["x-content-type"] == content_type


def test_returned_dict_is_parsed_into_model(make_formatter: Any) -> None:
    class Completion(BaseModel):
        prompt: str

    async def handler(completion: Completion) -> str:
        return completion.prompt

    handler.__annotations__["completion"] = Completion
    client = client_with(
        handler, input_formatter=make_formatter(lambda _: {"prompt": "a"})
    )
    assert client.post("/invocations", content=b"a").json() == "a"


@pytest.mark.parametrize("returned", [7, 1.5, True, object()])
def test_result_that_is_not_a_request_is_a_500(
    make_formatter: Any, returned: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_with(input_formatter=make_formatter(lambda request: returned))
    answer = client.post("/invocations", content=BODY)
    assert (answer.status_code, answer.json()) == (500, INTERNAL_ERROR)
    assert f"not {type(returned).__name__}" in caplog.text


# --- errors --------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["input_formatter", "output_formatter"])
def test_http_exception_becomes_response(make_formatter: Any, place: str) -> None:
    def refuse(message: Any) -> None:
        raise HTTPException(415, {"use": "json"}, {"x-why": "type"})

    answer = client_with(**{place: make_formatter(refuse)}).post("/invocations")
    assert (answer.status_code, answer.json()) == (415, {"detail": {"use": "json"}})
    assert answer.headers["x-why"] == "type"


@pytest.mark.parametrize("place", ["input_formatter", "output_formatter"])
def test_other_error_is_a_500_without_its_text(
    make_formatter: Any, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(message: Any) -> None:
        raise RuntimeError(SECRET)

    answer = client_with(**{place: make_formatter(fail)}).post("/invocations")
    assert (answer.status_code, answer.json()) == (500, INTERNAL_ERROR)
    assert f"RuntimeError: {SECRET}" in caplog.text
    assert "Traceback" in caplog.text


def test_output_formatter_is_not_called_for_rejected_request() -> None:
    seen: list[Any] = []

    def refuse(request: Any) -> None:
        raise HTTPException(415)

    client = client_with(input_formatter=refuse, output_formatter=seen.append)
    assert client.post("/invocations").status_code == 415
    assert seen == []


# --- shapes --------------------------------------------------------------------------


def decorated(function: Any) -> Any:
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


class Formatter:
    def __call__(self, message: Any) -> None: ...

    async def method(self, message: Any, option: int = 1) -> None: ...


@pytest.mark.parametrize(
    "shape",
    [
        Formatter,
        Formatter(),
        Formatter().method,
        functools.partial(Formatter().method, option=2),
        decorated(leave),
    ],
    ids=["class", "instance", "method", "partial", "returns a coroutine"],
)
@pytest.mark.parametrize("place", ["input_formatter", "output_formatter"])
def test_any_kind_of_callable_works(place: str, shape: Any) -> None:
    answer = client_with(**{place: shape}).post("/invocations", content=BODY)
    assert (answer.status_code, answer.content) == (200, BODY)


@pytest.mark.parametrize("in_a_thread", [True, False])
def test_response_of_input_formatter_is_the_answer(in_a_thread: bool) -> None:
    def refuse(request: Any) -> Response:
        return Response("no", 418, {"x-by": "formatter"})

    async def refuse_on_the_loop(request: Any) -> Response:
        return refuse(request)

    async def never(response: Any) -> None:
        raise AssertionError

    formatter = refuse if in_a_thread else refuse_on_the_loop
    client = client_with(input_formatter=formatter, output_formatter=never)
    answer = client.post("/invocations", content=b"body")
    assert (answer.status_code, answer.text) == (418, "no")
    assert answer.headers["x-by"] == "formatter"
