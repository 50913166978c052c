"""Streams through middleware and formatters that do not change them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.requests import ClientDisconnect

from customised import (
    ENDS_BROKEN_STREAMS,
    KINDS,
    Exchange,
    app_with,
    client_with,
    leave,
    pass_on,
)
from stepped_stream import COUNT, Source, handler_of

#: ASGI versions: from 2.4 on a server reports a disconnect by an error of ``send``.
SPECIFICATIONS: Final = ("2.3", "2.4")


@pytest.mark.parametrize("specification", SPECIFICATIONS)
@pytest.mark.parametrize("kind", KINDS)
async def test_stream_arrives_chunk_by_chunk(kind: str, specification: str) -> None:
    source = Source()
    app = app_with(handler_of(source), **KINDS[kind])
    exchange = Exchange(app, specification=specification, on_chunk=source.took)
    await exchange.run()
    assert exchange.chunks == [b"chunk %d" % number for number in range(COUNT)]
    assert (exchange.status, exchange.headers["x-app"]) == (201, "1")
    assert exchange.is_complete
    assert source.closed.is_set()


@pytest.mark.parametrize("kind", KINDS)
async def test_slow_client_slows_handler(kind: str) -> None:
    """The handler is at most a few chunks ahead of the client."""
    source = Source()
    source.go = asyncio.Semaphore(COUNT)
    ahead: list[int] = []

    def note(chunk: bytes) -> None:
        ahead.append(source.made - len(ahead))

    app = app_with(handler_of(source), **KINDS[kind])
    await Exchange(app, on_chunk=note).run()
    assert len(ahead) == COUNT
    assert max(ahead) <= 8


@pytest.mark.parametrize("kind", KINDS)
async def test_error_in_the_middle_reaches_server(kind: str) -> None:
    source = Source(count=3, fails=True)
    app = app_with(handler_of(source), **KINDS[kind])
    exchange = Exchange(app, on_chunk=source.took)
    with pytest.raises(KeyError, match="broken"):
        await exchange.run()
    assert exchange.chunks == [b"chunk 0", b"chunk 1", b"chunk 2"]
    assert exchange.is_complete is (kind in ENDS_BROKEN_STREAMS)


@pytest.mark.parametrize("specification", SPECIFICATIONS)
@pytest.mark.parametrize("kind", KINDS)
async def test_client_disconnect_ends_handler(kind: str, specification: str) -> None:
    source = Source()
    app = app_with(handler_of(source), **KINDS[kind])
    exchange = Exchange(app, specification=specification)

    def go(chunk: bytes) -> None:
        source.took(chunk)
        if len(exchange.chunks) == 3:
            exchange.disconnect()

    exchange._on_chunk = go
    # Starlette raises ClientDisconnect when a server's send fails, as of ASGI 2.4.
    with contextlib.suppress(ClientDisconnect, ConnectionError):
        await exchange.run()
    assert source.made < 10
    if specification == "2.3":
        # With 2.4 the garbage collector closes the source.
        await source.end()


@pytest.mark.parametrize("kind", KINDS)
async def test_client_disconnect_ends_waiting_handler(kind: str) -> None:
    source = Source()
    app = app_with(handler_of(source), **KINDS[kind])
    exchange = Exchange(app)
    exchange._on_chunk = lambda chunk: exchange.disconnect()
    with contextlib.suppress(ClientDisconnect, ConnectionError):
        await exchange.run()
    assert source.closed.is_set()
    assert exchange.chunks == [b"chunk 0"]


@pytest.mark.parametrize("kind", KINDS)
async def test_cancellation_by_server_ends_handler(kind: str) -> None:
    source = Source()
    app = app_with(handler_of(source), **KINDS[kind])
    exchange = Exchange(app)

    def cancel(chunk: bytes) -> None:
        running.cancel()

    exchange._on_chunk = cancel
    running = asyncio.ensure_future(exchange.run())
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await source.end()
    assert exchange.chunks == [b"chunk 0"]


def test_concurrent_streams_do_not_mix() -> None:
    async def run() -> None:
        sources = [Source() for _ in range(20)]
        waiting = iter(sources)

        async def handler() -> StreamingResponse:
            return await next(waiting)()

        app = app_with(handler, throttle=pass_on, output_formatter=leave)
        exchanges = []
        for source in sources:
            exchange = Exchange(app, on_chunk=source.took)
            exchanges.append(exchange)
        await asyncio.gather(*(exchange.run() for exchange in exchanges))
        for exchange in exchanges:
            assert exchange.chunks == [b"chunk %d" % n for n in range(COUNT)]

    asyncio.run(run())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunks", [[], [b""], [b"one"], [b"", b"one", b"", b"two"]])
def test_short_stream_arrives(kind: str, chunks: list[bytes]) -> None:
    async def handler() -> StreamingResponse:
        return StreamingResponse(iter(chunks))

    answer = client_with(handler, **KINDS[kind]).post("/invocations")
    assert (answer.status_code, answer.content) == (200, b"".join(chunks))


async def test_new_response_ends_stream() -> None:
    """A middleware with its own response does not wait for the abandoned stream."""
    source = Source()

    async def other(request: Any, call_next: Any) -> Any:
        await call_next(request)
        return JSONResponse({"other": True})

    exchange = Exchange(app_with(handler_of(source), pre_post_process=other))
    await exchange.run()
    assert exchange.content == b'{"other":true}'
    await source.end()
    assert source.made <= 2


async def test_chunks_can_be_changed() -> None:
    source = Source()

    async def upper(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        chunks = response.body_iterator

        async def changed() -> AsyncIterator[bytes]:
            async for chunk in chunks:
                yield chunk.upper()

        response.body_iterator = changed()
        return response

    app = app_with(handler_of(source), throttle=upper)
    exchange = await Exchange(app, on_chunk=source.took).run()
    assert exchange.chunks == [b"CHUNK %d" % number for number in range(COUNT)]
