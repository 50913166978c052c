"""A response that is cut short, message by message."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from model_hosting_container_standards.tracking.request_tracker import RequestTracker

EVENTS = [(b"content-type", b"text/event-stream")]
SCOPE = {"type": "http", "path": "/v1/x", "method": "POST", "headers": []}


async def cut_after(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a client gets of an app that sends these, and is cut then."""
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
    tracker.closed = "It ends."
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
async def test_the_last_event_is_one_of_its_own(
    chunks: list[bytes], between: bytes
) -> None:
    sent = await cut_after(start(EVENTS), *map(body, chunks))
    last = sent[-1]["body"]
    assert last.startswith(between + b'data: {"error":{"message":"It ends."')
    assert last.endswith(b"\n\n")
    assert not sent[-1].get("more_body", False)


async def test_messages_that_begin_nothing_pass() -> None:
    """Such as what templates tell Starlette's test client."""
    debug = {"type": "http.response.debug", "info": {}}
    sent = await cut_after(debug, start(EVENTS))
    assert sent[0] == debug
    assert b"It ends." in sent[-1]["body"]


async def test_what_has_ended_is_left_as_it_is() -> None:
    over = {"type": "http.response.body", "body": b"data: [DONE]\n\n"}
    assert (await cut_after(start(EVENTS), over))[-1] == over


async def test_once_all_are_answered_nobody_waits() -> None:
    tracker = RequestTracker({})
    silences = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        silences.append(tracker.silence())
        await send(start([]))
        await send({"type": "http.response.body"})

    async def send(message: Any) -> None:
        """Nobody looks at it."""

    tracker.app = app
    await tracker(dict(SCOPE), Any, send)  # type: ignore[arg-type]
    assert silences[0] > 0
    assert tracker.silence() == 0


class Cycle:
    """What uvicorn has of a connection: its method ``send`` is what an app gets."""

    def __init__(self) -> None:
        self.disconnected = False

    async def send(self, message: Any) -> None:
        """Whatever comes after the client has left goes nowhere."""


@pytest.mark.parametrize("leaves", [True, False])
async def test_what_is_sent_to_nobody_is_no_progress(leaves: bool) -> None:
    """Engines end a request that was abandoned as if they had answered it."""
    tracker, cycle = RequestTracker({}), Cycle()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        cycle.disconnected = leaves
        await send(start([]))
        await send({"type": "http.response.body", "body": b"null"})

    tracker.app = app
    await tracker(dict(SCOPE), Any, cycle.send)  # type: ignore[arg-type]
    assert (tracker.silence() > 0) is leaves
    tracker.note_progress()
    assert tracker.silence() == 0
