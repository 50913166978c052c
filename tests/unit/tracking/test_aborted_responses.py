"""Aborted responses, message by message."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import pytest

from model_hosting_container_standards.tracking.request_tracker import RequestTracker

EVENTS = [(b"content-type", b"text/event-stream")]
SCOPE = {"type": "http", "path": "/v1/x", "method": "POST", "headers": []}


async def messages_when_aborted_after(
    *messages: dict[str, Any],
) -> list[dict[str, Any]]:
    """Return what the client receives when an app is aborted after these messages."""
    tracker, sent = RequestTracker({}), []
    has_sent = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        has_sent.set()
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    tracker.app = app
    running = asyncio.create_task(tracker(dict(SCOPE), Any, send))  # type: ignore[arg-type]
    await has_sent.wait()
    tracker.closed = "Shutting down."
    await tracker.abort()
    await asyncio.gather(running, return_exceptions=True)
    return sent


def start(headers: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": headers}


def body(text: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": text, "more_body": True}


@pytest.mark.parametrize(
    ("chunks", "between"),
    [
        ([], b""),
        ([b"data: 1\n\n"], b""),
        ([b"data: 1\r\n\r\n"], b""),
        ([b"data: 1\n\n", b'data: {"a'], b"\n\n"),
        ([b"event: delta\n"], b"\n\n"),
    ],
)
async def test_error_is_an_event_of_its_own(
    chunks: list[bytes], between: bytes
) -> None:
    sent = await messages_when_aborted_after(start(EVENTS), *map(body, chunks))
    last = sent[-1]["body"]
    assert last.startswith(between + b'data: {"error":{"message":"Shutting down."')
    assert last.endswith(b"\n\n")
    assert not sent[-1].get("more_body", False)


async def test_messages_before_response_starts_pass() -> None:
    """Templates send a debug message to Starlette's test client."""
    debug = {"type": "http.response.debug", "info": {}}
    sent = await messages_when_aborted_after(debug, start(EVENTS))
    assert sent[0] == debug
    assert b"Shutting down." in sent[-1]["body"]


async def test_complete_response_is_left_unchanged() -> None:
    last = {"type": "http.response.body", "body": b"data: [DONE]\n\n"}
    assert (await messages_when_aborted_after(start(EVENTS), last))[-1] == last


async def test_silence_is_zero_when_no_request_is_open() -> None:
    tracker = RequestTracker({})
    silences = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        silences.append(tracker.silence())
        await send(start([]))
        await send({"type": "http.response.body"})

    async def send(message: Any) -> None:
        """Discard the message."""

    tracker.app = app
    await tracker(dict(SCOPE), Any, send)  # type: ignore[arg-type]
    assert silences[0] > 0
    assert tracker.silence() == 0


class Cycle:
    """Uvicorn's cycle of a connection, whose method ``send`` an app receives."""

    def __init__(self) -> None:
        self.disconnected = False

    async def send(self, message: Any) -> None:
        """Discard the message, as uvicorn does once the client has disconnected."""


@pytest.mark.parametrize("disconnects", [True, False])
async def test_messages_to_disconnected_client_are_not_progress(
    disconnects: bool,
) -> None:
    """Engines finish an abandoned request as if they had answered."""
    tracker, cycle = RequestTracker({}), Cycle()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        cycle.disconnected = disconnects
        await send(start([]))
        await send({"type": "http.response.body", "body": b"null"})

    tracker.app = app
    await tracker(dict(SCOPE), Any, cycle.send)  # type: ignore[arg-type]
    assert (tracker.silence() > 0) is disconnects
    tracker.note_progress()
    assert tracker.silence() == 0


@pytest.mark.parametrize("finds_silence", [True, False])
async def test_chunks_are_timed_only_where_silence_matters(finds_silence: bool) -> None:
    tracker = RequestTracker({}, finds_silence=finds_silence)
    waited = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begin = monotonic()
        await asyncio.sleep(0.01)
        await send(start([]))
        await send(body(b"a"))
        passed = monotonic() - begin
        waited.append(tracker.silence() >= passed)

    async def send(message: Any) -> None:
        """Discard the message."""

    tracker.app = app
    await tracker(dict(SCOPE), Any, send)  # type: ignore[arg-type]
    assert waited == [not finds_silence]
