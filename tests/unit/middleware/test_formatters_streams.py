"""Output formatters of streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import BackgroundTasks
from fastapi.responses import Response, StreamingResponse

from customised import Exchange, app_with, client_with
from servers import polling
from stepped_stream import COUNT, Source, handler_of


async def words() -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        for word in (b"one ", b"two ", b"three"):
            yield word

    headers = {"x-app": "1", "content-length": "13"}
    return StreamingResponse(chunks(), media_type="text/plain", headers=headers)


# --- metadata ------------------------------------------------------------------------


def test_response_is_marked_as_stream() -> None:
    seen: list[Any] = []

    async def look(response: Any) -> None:
        seen.append((response.is_stream, response.status_code))
        with pytest.raises(AttributeError, match="read response.body_iterator"):
            _ = response.body

    answer = client_with(words, output_formatter=look).post("/invocations")
    assert (answer.text, seen) == ("one two three", [(True, 200)])


@pytest.mark.parametrize("in_a_thread", [True, False])
def test_status_and_headers_of_stream_can_be_changed(in_a_thread: bool) -> None:
    def change(response: Any) -> None:
        response.status_code = 206
        response.headers["x-new"] = "1"
        del response.headers["x-app"]

    async def change_on_the_loop(response: Any) -> None:
        change(response)

    formatter = change if in_a_thread else change_on_the_loop
    answer = client_with(words, output_formatter=formatter).post("/invocations")
    assert (answer.status_code, answer.text) == (206, "one two three")
    assert answer.headers["x-new"] == "1"
    assert "x-app" not in answer.headers


# --- chunks --------------------------------------------------------------------------


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("in_a_thread", [True, False])
async def test_chunks_can_be_changed_as_they_arrive(
    as_text: bool, in_a_thread: bool
) -> None:
    async def upper(chunks: Any) -> AsyncIterator[bytes | str]:
        async for chunk in chunks:
            yield chunk.decode().upper() if as_text else chunk.upper()

    def change(response: Any) -> None:
        response.body_iterator = upper(response.body_iterator)

    async def change_on_the_loop(response: Any) -> None:
        change(response)

    source = Source()
    formatter = change if in_a_thread else change_on_the_loop
    app = app_with(handler_of(source), output_formatter=formatter)
    exchange = await Exchange(app, on_chunk=source.took).run()
    assert exchange.chunks == [b"CHUNK %d" % number for number in range(COUNT)]
    assert exchange.is_complete
    assert source.closed.is_set()


def test_changed_chunks_remove_content_length() -> None:
    async def double(response: Any) -> None:
        chunks = response.body_iterator

        async def doubled() -> AsyncIterator[bytes]:
            async for chunk in chunks:
                yield chunk * 2

        response.body_iterator = doubled()

    answer = client_with(words, output_formatter=double).post("/invocations")
    assert answer.text == "one one two two threethree"
    assert "content-length" not in answer.headers


def test_whole_response_can_become_a_stream() -> None:
    async def whole() -> Response:
        return Response("one two")

    async def split(response: Any) -> None:
        content = response.body

        async def words_of_content() -> AsyncIterator[bytes]:
            for word in content.split():
                yield word

        response.body_iterator = words_of_content()

    answer = client_with(whole, output_formatter=split).post("/invocations")
    assert answer.text == "onetwo"
    assert "content-length" not in answer.headers


@pytest.mark.parametrize(
    ("content", "sent"), [(b"b", b"b"), ("ö", "ö".encode()), ({"a": 1}, b'{"a":1}')]
)
@pytest.mark.parametrize("assign", [True, False])
@pytest.mark.parametrize("read", [True, False])
def test_stream_can_become_a_whole_response(
    content: Any, sent: bytes, assign: bool, read: bool
) -> None:
    async def collect(response: Any) -> Any:
        if read:
            chunks = [chunk async for chunk in response.body_iterator]
            assert b"".join(chunks) == b"one two three"
        if not assign:
            return content
        response.body = content
        return None

    answer = client_with(words, output_formatter=collect).post("/invocations")
    assert answer.content == sent
    assert answer.headers["content-length"] == str(len(sent))
    assert answer.headers["x-app"] == "1"


@pytest.mark.parametrize("completely", [True, False])
async def test_consumed_stream_without_replacement_is_a_500(
    completely: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def only_read(response: Any) -> None:
        async for _chunk in response.body_iterator:
            if not completely:
                return

    exchange = await Exchange(app_with(words, output_formatter=only_read)).run()
    assert (exchange.status, exchange.is_complete) == (500, True)
    assert "was read, but nothing was assigned" in caplog.text


def test_background_tasks_of_both_responses_run() -> None:
    ran: list[str] = []

    async def handler() -> StreamingResponse:
        response = await words()
        response.background = BackgroundTasks()
        response.background.add_task(ran.append, "the handler's")
        return response

    async def add(response: Any) -> None:
        response.background = BackgroundTasks()
        response.background.add_task(ran.append, "the formatter's")

    answer = client_with(handler, output_formatter=add).post("/invocations")
    assert answer.text == "one two three"
    for _ in polling(5):
        if len(ran) == 2:
            break
    assert {*ran} == {"the handler's", "the formatter's"}
