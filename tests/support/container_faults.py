"""Faults of a container, one for each check that has to find it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from faulty_app import Call, Fault, plain
from mhcs.check.checks.models import UNKNOWN

KEY: Final = "the-key-of-the-test"
_SESSION: Final = "x-amzn-sagemaker-session-id"
_ADAPTER: Final = "x-amzn-sagemaker-adapter-identifier"
_ATTRIBUTES: Final = "x-amzn-sagemaker-custom-attributes"


# --- faults of many checks ---------------------------------------------------------


def when(condition: Callable[[Call], Any], answer: int | Response = 500) -> Fault:
    """Return a fault: where the condition holds, a status or a response answers."""
    response = plain(answer) if isinstance(answer, int) else answer
    return lambda call: response if condition(call) else None


def fails_together(condition: Callable[[Call], Any], alone: int) -> Fault:
    """Return a fault: of several requests at once, the second and later are a 500.

    The first ``alone`` requests, which come one after the other, are answered.
    """
    crowded = asyncio.Event()

    def fault(call: Call) -> ASGIApp | None:
        if not condition(call) or call.number <= alone:
            return None
        if call.running() > 1:
            crowded.set()
            return plain(500)
        return after(crowded, call.app)

    return fault


def after(event: asyncio.Event, app: ASGIApp) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.wait_for(event.wait(), 10)
        await app(scope, receive, send)

    return answer


def is_invocation(call: Call) -> bool:
    return call.path == "/invocations"


def is_websocket(call: Call) -> bool:
    return call.method == "WEBSOCKET"


def is_registration(call: Call) -> bool:
    return call.method == "POST" and call.path == "/adapters"


def registers(call: Call) -> bool:
    """Return whether an adapter that exists is registered."""
    return is_registration(call) and "no/such" not in call.src


# --- faults of one check ------------------------------------------------------------


def ping_fails_under_load() -> Fault:
    pinged = asyncio.Event()

    def fault(call: Call) -> ASGIApp | None:
        if is_invocation(call) and call.number > 1:
            return after(pinged, call.app)
        if call.path == "/ping" and call.number > 1:
            pinged.set()
            return plain(503)
        return None

    return fault


def without_length(call: Call) -> ASGIApp | None:
    def change(message: Message) -> Message:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message["headers"] if pair[0] != b"content-length"]
            return {**message, "headers": kept}
        return message

    return call.changed(change) if is_invocation(call) else None


def without_end(call: Call) -> ASGIApp | None:
    def change(message: Message) -> Message:
        body = message.get("body", b"").replace(b"data: [DONE]\n\n", b"")
        return {**message, "body": body} if "body" in message else message

    return call.changed(change) if call.streams else None


def at_once(call: Call) -> ASGIApp | None:
    """Answer with the whole stream in one message, as a middleware that buffers."""
    return StreamCollector(call.app) if call.streams else None


class StreamCollector:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts: list[bytes] = []

        async def collect(message: Message) -> None:
            parts.append(message.get("body", b""))

        await self.app(scope, receive, collect)
        response = Response(b"".join(parts), media_type="text/event-stream")
        await response(scope, receive, send)


def dies_of_disconnects() -> Fault:
    seen: list[Call] = []

    def fault(call: Call) -> ASGIApp | None:
        if call.json.get("max_tokens") == 128:
            seen.append(call)
        return plain(503) if call.path == "/ping" and seen else None

    return fault


def error_in_stream(call: Call) -> ASGIApp | None:
    if not call.streams or call.json.get("max_tokens") != "many":
        return None
    return Response('data: {"error": "many"}\n\n', media_type="text/event-stream")


def base_for_unknown(call: Call) -> ASGIApp | None:
    if call.json.get("model") == UNKNOWN:
        return call.with_body({**call.json, "model": None})
    return None


def other_id(call: Call) -> ASGIApp | None:
    if not is_invocation(call):
        return None
    return call.with_headers(x_amzn_sagemaker_inference_id="another")


def cut_by_delete() -> Fault:
    """End streams of adapters in the middle once an adapter is deleted."""
    deleted = asyncio.Event()

    def fault(call: Call) -> ASGIApp | None:
        if call.method == "DELETE":
            deleted.set()
            return plain(200)
        if not call.streams or _ADAPTER not in call.headers:
            return None
        return cut

    async def cut(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        event = b"data: {}\n\n"
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await asyncio.wait_for(deleted.wait(), 10)
        raise ConnectionError("the stream is cut")

    return fault


def session_of(call: Call) -> str | None:
    return call.headers.get(_SESSION)


def answers_lines(*lines: str) -> Fault:
    return when(
        lambda call: call.headers.get("content-type") == "application/jsonlines",
        PlainTextResponse("\n".join(lines)),
    )


def has_hole(*paths: str) -> Fault:
    """Return a fault: the paths need no key."""

    def fault(call: Call) -> ASGIApp | None:
        if not call.path.startswith(paths):
            return None
        return call.with_headers(authorization=f"Bearer {KEY}")

    return fault


def body_is(content: bytes) -> Fault:
    """Return a fault: bodies that begin so are a 500."""
    return when(lambda call: is_invocation(call) and call.body.startswith(content))


def body_equals(content: bytes) -> Fault:
    return when(lambda call: is_invocation(call) and call.body == content)


_NEW: Final = "NEW_SESSION"
_TRACEBACK: Final = 'Traceback (most recent call last):\n  File "/app/x.py", line 1'

#: By the name of the check. A function makes a fault with a state of its own.
FAULTS: Final[dict[str, Callable[[], Fault]]] = {
    "ping-answers": lambda: when(lambda call: call.path == "/ping"),
    "ping-times": lambda: when(lambda call: call.path == "/ping" and call.number > 9),
    "ping-load": ping_fails_under_load,
    "ping-honest": lambda: when(is_invocation),
    "ping-methods": lambda: when(lambda call: call.method == "HEAD"),
    "invocations-answers": lambda: when(is_invocation, 400),
    "invocations-times": lambda: when(
        lambda call: is_invocation(call) and call.number > 5
    ),
    "invocations-concurrent": lambda: fails_together(is_invocation, alone=1),
    "invocations-length": lambda: without_length,
    "invocations-type": lambda: when(
        is_invocation, Response("no JSON", media_type="application/json")
    ),
    "invocations-handler": lambda: when(is_invocation, JSONResponse({"of": "engine"})),
    "invocations-gzip": lambda: when(lambda call: "content-encoding" in call.headers),
    "streams-events": lambda: without_end,
    "streams-length": lambda: at_once,
    "streams-parts": lambda: at_once,
    "streams-times": lambda: when(lambda call: call.streams and call.number > 5),
    "streams-concurrent": lambda: fails_together(lambda call: call.streams, alone=2),
    "streams-disconnect": dies_of_disconnects,
    "streams-errors": lambda: error_in_stream,
    "models-list": lambda: when(
        lambda call: call.path == "/v1/models", JSONResponse({"data": 1})
    ),
    "models-missing": lambda: when(
        lambda call: is_invocation(call) and "model" not in call.json, 422
    ),
    "models-empty": lambda: when(
        lambda call: is_invocation(call) and call.json.get("model") == "", 404
    ),
    "models-unknown": lambda: base_for_unknown,
    "models-openai": lambda: when(
        lambda call: call.path == "/v1/completions", plain(404, "no model ''")
    ),
    "headers-platform": lambda: when(
        lambda call: "x-amzn-sagemaker-target-model" in call.headers, 431
    ),
    "headers-id": lambda: other_id,
    "headers-route": lambda: when(
        lambda call: call.headers.get(_ATTRIBUTES) == "route=/v1/completions"
    ),
    "adapters-list": lambda: when(
        lambda call: (call.method, call.path) == ("GET", "/adapters"), JSONResponse({})
    ),
    "adapters-unknown": lambda: when(lambda call: call.method == "DELETE", 200),
    "adapters-header": lambda: (
        lambda call: (
            call.with_headers(**{_ADAPTER: None}) if _ADAPTER in call.headers else None
        )
    ),
    "adapters-missing": lambda: when(is_registration),
    "adapters-wrong": lambda: when(
        lambda call: is_registration(call) and call.body == b"[]"
    ),
    "adapters-register": lambda: when(registers),
    "adapters-query": lambda: when(lambda call: call.scope["query_string"], 400),
    "adapters-answer": lambda: when(lambda call: _ADAPTER in call.headers, 404),
    "adapters-again": lambda: when(
        lambda call: registers(call) and call.number > 2, 409
    ),
    "adapters-conflict": lambda: when(
        lambda call: registers(call) and call.number > 2, 200
    ),
    "adapters-concurrent": lambda: fails_together(registers, alone=1),
    "adapters-read": lambda: when(
        lambda call: call.method == "GET" and call.path.startswith("/adapters/"), 404
    ),
    "adapters-update": lambda: when(lambda call: call.path.endswith("/update"), 404),
    "adapters-names": lambda: when(lambda call: "/fr" in unquote(call.path), 404),
    "adapters-folder": lambda: when(registers, 200),
    "adapters-delete": lambda: when(
        lambda call: call.method == "DELETE" and call.number > 1, 200
    ),
    "adapters-stream": cut_by_delete,
    "sessions-new": lambda: when(
        lambda call: call.json.get("requestType") == _NEW,
        plain(200, **{_SESSION: "abc"}),
    ),
    "sessions-use": lambda: when(
        lambda call: session_of(call) is not None and "prompt" in call.json, 400
    ),
    "sessions-close": lambda: when(
        lambda call: call.json.get("requestType") == "CLOSE", 200
    ),
    "sessions-unknown": lambda: (
        lambda call: (
            call.with_headers(**{_SESSION: None})
            if session_of(call) is not None and "prompt" in call.json
            else None
        )
    ),
    "sessions-wrong": lambda: when(
        lambda call: call.json.get("requestType") == "OPEN", 200
    ),
    "sessions-body": lambda: (
        lambda call: (
            call.with_headers(**{_SESSION: None}) if session_of(call) == _NEW else None
        )
    ),
    "batch-parameters": lambda: when(
        lambda call: call.path == "/execution-parameters",
        JSONResponse({"MaxConcurrentTransforms": "many"}),
    ),
    "batch-lines": lambda: answers_lines("{}", "{}"),
    "batch-errors": lambda: answers_lines("{}", "{}", "{}"),
    "websockets-open": lambda: when(is_websocket),
    "websockets-concurrent": lambda: when(
        lambda call: is_websocket(call) and call.running() > 1
    ),
    "websockets-disconnect": lambda: when(
        lambda call: call.path == "/ping" and call.number > 1, 503
    ),
    "websockets-unknown": lambda: when(
        lambda call: is_websocket(call) and "no-such" in call.path
    ),
    "metrics-page": lambda: when(
        lambda call: call.path == "/metrics", plain(200, "There are no metrics.")
    ),
    "keys-ping": lambda: when(
        lambda call: call.path == "/ping" and "authorization" not in call.headers, 401
    ),
    "keys-invocations": lambda: has_hole("/invocations"),
    "keys-adapters": lambda: has_hole("/adapters/"),
    "keys-websockets": lambda: has_hole("/invocations-bidirectional-stream"),
    "keys-openai": lambda: has_hole("/v1/models"),
    "errors-json": lambda: body_is(b'{"prompt": "hel'),
    "errors-encoding": lambda: body_is(b'{"prompt": "\xff'),
    "errors-empty": lambda: body_equals(b""),
    "errors-nested": lambda: body_is(b"[[["),
    "errors-object": lambda: body_equals(b"null"),
    "errors-type": lambda: body_is(b"a,b"),
    "errors-large": lambda: when(lambda call: len(call.body) > 1_000_000),
    "errors-leak": lambda: when(
        lambda call: call.json.get("max_tokens") == "many", plain(400, _TRACEBACK)
    ),
}
