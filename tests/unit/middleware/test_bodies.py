"""Bodies reach the handler unchanged, whether or not a middleware reads them."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any, Final

import pytest

from customised import KINDS, Exchange, app_with, client_with

BODY: Final = b'{ "a" : 1.0,\r\n "b": null }\n'
MULTIPART: Final = (
    b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.wav"\r\n\r\n'
    b"RIFF\x00\xff\r\n--x--\r\n"
)
BODIES: Final = {
    "json": (BODY, "application/json"),
    "broken json": (b'{"a": ', "application/json"),
    "utf-16": ('{"a": "ä"}'.encode("utf-16"), "application/json"),
    "invalid utf-8": (b'{"a": "\xff"}', "application/json"),
    "audio": (bytes(range(256)) * 64, "audio/wav"),
    "multipart": (MULTIPART, "multipart/form-data; boundary=x"),
    "nothing": (b"", "text/plain"),
    "50 megabytes": (b"0123456789" * 5_000_000, "application/octet-stream"),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("kind", KINDS)
def test_body_is_unchanged(kind: str, name: str) -> None:
    body, content_type = BODIES[name]
    client = client_with(**KINDS[kind])
    headers = {"content-type": content_type}
    answer = client.post("/invocations", content=body, headers=headers)
    is_same = answer.content == body
    assert is_same
    assert answer.headers["x-content-length"] == str(len(body))
    assert answer.headers["x-content-type"] == content_type


@pytest.mark.parametrize("kind", KINDS)
def test_compressed_body_is_decompressed_first(kind: str) -> None:
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    client = client_with(**KINDS[kind])
    packed = gzip.compress(BODY)
    answer = client.post("/invocations", content=packed, headers=headers)
    assert answer.content == BODY
    assert answer.headers["x-content-encoding"] == "none"
    assert answer.headers["x-content-length"] == str(len(BODY))


@pytest.mark.parametrize("kind", KINDS)
def test_chunked_body_is_unchanged(kind: str) -> None:
    def chunks() -> Iterator[bytes]:
        for number in range(100):
            yield b"chunk %d " % number

    answer = client_with(**KINDS[kind]).post("/invocations", content=chunks())
    assert answer.content == b"".join(chunks())
    assert answer.headers["x-content-length"] == "none"


# --- reading the body ----------------------------------------------------------------


async def read_body(request: Any) -> None:
    assert await request.body() == BODY


async def read_json(request: Any) -> None:
    assert await request.json() == {"a": 1.0, "b": None}


async def read_stream(request: Any) -> None:
    assert b"".join([chunk async for chunk in request.stream()]) == BODY


async def read_first_chunk(request: Any) -> None:
    async for chunk in request.stream():
        assert chunk
        return


async def read_again(request: Any) -> None:
    await read_body(request)
    await read_json(request)
    await read_stream(request)


async def change_parsed_json(request: Any) -> None:
    (await request.json())["a"] = "changed in the parsed document only"


READERS: Final = (
    read_body,
    read_json,
    read_stream,
    read_first_chunk,
    read_again,
    change_parsed_json,
)


def reading(read: Any) -> Any:
    async def middleware(request: Any, call_next: Any) -> Any:
        await read(request)
        return await call_next(request)

    return middleware


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("place", ["throttle", "pre_post_process", "input_formatter"])
@pytest.mark.parametrize("chunked", [True, False])
async def test_handler_gets_body_that_middleware_has_read(
    read: Any, place: str, chunked: bool
) -> None:
    function = read if place == "input_formatter" else reading(read)
    parts = [BODY[:5], BODY[5:7], BODY[7:]] if chunked else [BODY]
    exchange = Exchange(app_with(**{place: function}), parts)
    length = str(len(BODY)).encode()
    exchange.scope["headers"] = [(b"content-length", length)]
    await exchange.run()
    assert exchange.content == BODY
    assert exchange.headers["x-content-length"] == str(len(BODY))


async def test_every_middleware_can_read_body() -> None:
    app = app_with(
        throttle=reading(read_stream),
        pre_post_process=reading(read_json),
        input_formatter=read_first_chunk,
    )
    assert (await Exchange(app, (BODY[:3], BODY[3:])).run()).content == BODY


async def test_form_can_be_read_as_text() -> None:
    async def read_as_text(request: Any) -> None:
        request.state.form = (await request.body()).decode()

    app = app_with(input_formatter=read_as_text)
    exchange = Exchange(app, (b"a=1&", b"b=2"))
    await exchange.run()
    assert exchange.content == b"a=1&b=2"
