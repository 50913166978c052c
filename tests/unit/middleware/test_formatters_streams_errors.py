"""Output formatters of streams: errors, and new responses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from fastapi import HTTPException
from fastapi.responses import JSONResponse, Response, StreamingResponse

from customised import Exchange, app_with, client_with
from stepped_stream import COUNT, Source, handler_of

SECRET: Final = "the text of an error"


async def words() -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        for word in (b"one ", b"two ", b"three"):
            yield word

    headers = {"x-app": "1", "content-length": "13"}
    return StreamingResponse(chunks(), media_type="text/plain", headers=headers)


@pytest.mark.parametrize("read", [True, False])
async def test_error_before_first_chunk_is_a_500(
    read: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(response: Any) -> None:
        if read:
            async for _chunk in response.body_iterator:
                break
        raise RuntimeError(SECRET)

    source = Source(count=3)
    source.go = asyncio.Semaphore(3)
    exchange = Exchange(app_with(handler_of(source), output_formatter=fail))
    await exchange.run()
    assert (exchange.status, exchange.is_complete) == (500, True)
    assert exchange.content == b'{"detail":"Internal Server Error"}'
    assert f"RuntimeError: {SECRET}" in caplog.text
    # The log record holds the error, whose frames hold the stream.
    caplog.clear()
    await source.end()


def test_http_exception_becomes_response() -> None:
    async def refuse(response: Any) -> None:
        raise HTTPException(406, "no streams", {"x-why": "1"})

    answer = client_with(words, output_formatter=refuse).post("/invocations")
    assert (answer.status_code, answer.json()) == (406, {"detail": "no streams"})
    assert answer.headers["x-why"] == "1"


async def test_error_in_the_middle_breaks_stream() -> None:
    async def fail_later(response: Any) -> None:
        chunks = response.body_iterator

        async def failing() -> AsyncIterator[bytes]:
            async for chunk in chunks:
                if chunk == b"chunk 2":
                    raise RuntimeError(SECRET)
                yield chunk

        response.body_iterator = failing()

    source = Source()
    app = app_with(handler_of(source), output_formatter=fail_later)
    exchange = Exchange(app, on_chunk=source.took)
    with pytest.raises(RuntimeError, match=SECRET):
        await exchange.run()
    assert exchange.chunks == [b"chunk 0", b"chunk 1"]
    assert not exchange.is_complete
    await source.end()


@pytest.mark.parametrize("handles", [True, False])
async def test_handlers_error_reaches_reading_formatter(handles: bool) -> None:
    seen: list[str] = []

    async def collect(response: Any) -> Any:
        chunks = []
        try:
            async for chunk in response.body_iterator:
                chunks.append(chunk)
                source.took(chunk)
        except KeyError as error:
            seen.append(str(error))
            if not handles:
                raise
        response.body = b"".join(chunks)

    source = Source(count=2, fails=True)
    exchange = Exchange(app_with(handler_of(source), output_formatter=collect))
    if handles:
        # A formatter that handles the error sends the chunks so far.
        await exchange.run()
        assert (exchange.status, exchange.content) == (201, b"chunk 0chunk 1")
    else:
        with pytest.raises(KeyError, match="broken"):
            await exchange.run()
        assert b"chunk" not in exchange.content
    assert seen == ["'broken'"]
    assert source.closed.is_set()


async def test_new_response_closes_stream() -> None:
    async def other(response: Any) -> Response:
        return JSONResponse({"other": True})

    source = Source()
    source.go = asyncio.Semaphore(COUNT)
    exchange = Exchange(app_with(handler_of(source), output_formatter=other))
    await exchange.run()
    assert exchange.content == b'{"other":true}'
    assert exchange.is_complete
    await source.end()
    assert source.made <= 3


async def test_new_response_closes_waiting_stream() -> None:
    async def other(response: Any) -> Response:
        return JSONResponse({"other": True})

    source = Source()
    exchange = Exchange(app_with(handler_of(source), output_formatter=other))
    await exchange.run()
    assert exchange.content == b'{"other":true}'
    assert source.made == 1
    await source.end()
