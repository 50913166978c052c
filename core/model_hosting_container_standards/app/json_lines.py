"""JSON Lines on ``/invocations``: each line is a request, for batch transform jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..adapters.lease_middleware import LeaseMiddleware
from ..adapters.runtime import AdapterRuntime
from ..asgi.body import decode_json, encode_json, read_body
from ..asgi.errors import message_in, refuse
from ..asgi.header_values import header_values
from ..asgi.json_lines import json_lines_type, split_lines
from ..contract.headers import CONTENT_TYPE, SESSION_ID
from ..logging_config import get_logger
from ..middleware.interceptor import without_opaque_sends
from ..observability.route_labels import INVOCATIONS, route_of
from ..request_id import X_REQUEST_ID
from ..sessions.control_request import NEW_SESSION
from ..tracking.request_tracker import REQUEST_TRACKER

logger = get_logger(__name__)

_JSON: Final = b"application/json"
#: Headers of the whole body, or that each line gets its own of.
_OF_BODY: Final = frozenset(
    {CONTENT_TYPE, b"content-length", b"transfer-encoding", X_REQUEST_ID}
)
_FIRST_ERROR: Final = 400
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


class JSONLines:
    """Answers each line of a body as a request of its own.

    Args:
        adapters: leased by each line, as by any request.
        max_concurrency: returns how many lines of a body are answered at once.
    """

    def __init__(
        self, adapters: AdapterRuntime, max_concurrency: Callable[[], int]
    ) -> None:
        self.adapters = adapters
        self.max_concurrency = max_concurrency

    async def answer(
        self, app: ASGIApp, media_type: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Call ``app`` with each line, and send the answers in the lines' order."""
        if header_values(scope).get(SESSION_ID) == NEW_SESSION.encode():
            # Each line would begin one, and only a header has its id.
            detail = "JSON Lines cannot begin a session: send one JSON object."
            await refuse(HTTPException(400, detail), scope, receive, send)
            return
        try:
            body = await read_body(receive)
        except ClientDisconnect:
            return
        if self.adapters.has_engine:
            app = LeaseMiddleware(app, self.adapters)
        batch = Batch(app, scope, split_lines(body))
        if await batch.answer(self.max_concurrency(), receive):
            response = Response(b"".join(batch.answers), media_type=media_type)
            await response(scope, receive, send)


class JSONLinesMiddleware:
    """Lets the formatters process each line of a body on ``/invocations``.

    Without a coroutine of its own, which would cost every request time.

    Args:
        app: the formatters, around the app.
        labels: the labels of fixed paths, see :func:`known_routes`.
    """

    def __init__(
        self, app: ASGIApp, lines: JSONLines, labels: Mapping[str, str]
    ) -> None:
        self.app = app
        self.lines = lines
        self.labels = labels

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        media_type = self._media_type(scope)
        if media_type is None:
            return self.app(scope, receive, send)
        return self.lines.answer(self.app, media_type, scope, receive, send)

    def _media_type(self, scope: Scope) -> str | None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        if route_of(scope, self.labels) != INVOCATIONS:
            return None
        return json_lines_type(header_values(scope).get(CONTENT_TYPE))


class Batch:
    """The lines of one body, and their answers, which are lines too."""

    def __init__(self, app: ASGIApp, scope: Scope, lines: list[bytes]) -> None:
        self.app = app
        self.lines = lines
        self.answers = [b""] * len(lines)
        self._scope = without_opaque_sends(scope)
        self._pending = iter(enumerate(lines))
        self._disconnected = asyncio.Event()

    async def answer(self, max_concurrency: int, receive: Receive) -> bool:
        """Answer all lines; return False if the client disconnected."""
        count = min(max_concurrency, len(self.lines))
        workers = [asyncio.ensure_future(self._work()) for _ in range(count)]
        work = asyncio.gather(*workers)
        watcher = asyncio.ensure_future(self._watch(receive))
        try:
            ended: list[asyncio.Future[Any]] = [work, watcher]
            await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
            if self._disconnected.is_set():
                return False
            await work
        finally:
            for task in (watcher, *workers):
                task.cancel()
            await asyncio.gather(watcher, work, return_exceptions=True)
        return True

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._disconnected.set()

    async def _work(self) -> None:
        """Answer one line after the other, until another worker has taken the last."""
        for number, line in self._pending:
            self.answers[number] = await self._answer_line(number, line) + b"\n"

    async def _answer_line(self, number: int, line: bytes) -> bytes:
        if (problem := _problem(line)) is not None:
            return _error(HTTPStatus.BAD_REQUEST, problem)
        request = LineRequest(line, self._disconnected)
        response = LineResponse()
        try:
            scope = request.scope_in(self._scope, number)
            await self.app(scope, request.receive, response.send)
        except HTTPException as error:
            return _error(error.status_code, str(error.detail))
        except Exception as error:  # It must not end the other lines.
            logger.error("A line of JSON Lines failed", exc_info=error)
            return _error(HTTPStatus.INTERNAL_SERVER_ERROR)
        self._note_progress(response)
        return response.line()

    def _note_progress(self, response: LineResponse) -> None:
        # The response as a whole has not begun: the server might seem hung.
        tracker = self._scope.get(REQUEST_TRACKER)
        if tracker is not None and response.status < _FIRST_ERROR:
            tracker.note_progress()


class LineRequest:
    """A request with a line as its body."""

    def __init__(self, line: bytes, disconnected: asyncio.Event) -> None:
        self._line = line
        self._disconnected = disconnected
        self._is_read = False

    def scope_in(self, scope: Scope, number: int) -> Scope:
        """Return the request's scope within that of the whole body."""
        headers = [item for item in scope["headers"] if item[0] not in _OF_BODY]
        headers.append((CONTENT_TYPE, _JSON))
        headers.append((b"content-length", b"%d" % len(self._line)))
        # Engines require ids of running requests to be unique.
        ids = [value for name, value in scope["headers"] if name == X_REQUEST_ID]
        headers += [(X_REQUEST_ID, b"%b-%d" % (value, number)) for value in ids]
        return {**scope, "headers": headers, "state": {**scope.get("state", {})}}

    async def receive(self) -> Message:
        if not self._is_read:
            self._is_read = True
            return {"type": "http.request", "body": self._line}
        await self._disconnected.wait()
        return {"type": "http.disconnect"}


class LineResponse:
    """The response to a line, collected."""

    status: int = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self._chunks.append(message.get("body", b""))

    def line(self) -> bytes:
        """Return the body as one line of JSON; an error has its status in it."""
        body = b"".join(self._chunks).strip()
        try:
            document = decode_json(body)
        except ValueError:
            document = body.decode(errors="replace")
        else:
            if self.status < _FIRST_ERROR and b"\n" not in body:
                return body
        if self.status >= _FIRST_ERROR:
            return _error(self.status, message_in(document))
        return encode_json(document)


def _problem(line: bytes) -> str | None:
    """Return why a line cannot be answered; None if it can."""
    try:
        document = decode_json(line)
    except ValueError:
        return "The line is not JSON."
    if isinstance(document, dict) and document.get("stream"):
        return "A line cannot be streamed: leave out stream."
    return None


def _error(status: int, message: str = "") -> bytes:
    phrase = _PHRASES.get(status, "Error")
    error = {"code": int(status), "type": phrase, "message": message or phrase}
    return encode_json({"error": error})
