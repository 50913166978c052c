"""An app with a fault, which ``POST /fault/NAME`` chooses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Call(NamedTuple):
    """A request, and the app that would answer it correctly."""

    app: ASGIApp
    scope: Scope
    body: bytes
    #: How many requests of this method and path there were, this one included.
    number: int
    #: How many requests of this path are being answered, this one included.
    running: Callable[[], int]

    @property
    def method(self) -> str:
        """The method, or WEBSOCKET."""
        return str(self.scope.get("method", "WEBSOCKET"))

    @property
    def path(self) -> str:
        return str(self.scope["path"])

    @property
    def headers(self) -> dict[str, str]:
        found = self.scope["headers"]
        return {name.decode(): value.decode("latin-1") for name, value in found}

    @property
    def json(self) -> dict[str, Any]:
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    @property
    def streams(self) -> bool:
        return self.json.get("stream") is True

    @property
    def src(self) -> str:
        return str(self.json.get("src", ""))

    def with_headers(self, **headers: str | None) -> ASGIApp:
        """Return the app as it answers with other headers; None removes one."""
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        raw = [
            (name.encode(), value.encode())
            for name, value in {**self.headers, **changed}.items()
            if value is not None
        ]

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await self.app({**scope, "headers": raw}, receive, send)

        return answer

    def with_body(self, document: Mapping[str, Any]) -> ASGIApp:
        content = json.dumps(document).encode()
        length = self.with_headers(content_length=str(len(content)))

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            await length(scope, replay(content, receive), send)

        return answer

    def changed(self, change: Callable[[Message], Message]) -> ASGIApp:
        """Return the app with each of its messages changed."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            async def changing(message: Message) -> None:
                await send(change(message))

            await self.app(scope, receive, changing)

        return answer


#: Returns what answers instead, None for the app itself.
Fault = Callable[[Call], ASGIApp | None]


class Faulty:
    """An app with one of the faults; a name without a fault chooses none."""

    def __init__(self, app: ASGIApp, faults: Mapping[str, Callable[[], Fault]]) -> None:
        self.app = app
        self.faults = faults
        self._choose("none")

    def _choose(self, name: str) -> None:
        make = self.faults.get(name)
        self.fault = make() if make is not None else None
        self.numbers: dict[tuple[str, str], int] = {}
        self.running: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        is_websocket = scope["type"] == "websocket"
        path = scope["path"]
        if path.startswith("/fault/"):
            self._choose(path.removeprefix("/fault/"))
            return await plain(200)(scope, receive, send)
        body = b"" if is_websocket else await read(receive)
        if not is_websocket:
            receive = replay(body, receive)
        key = (scope.get("method", "WEBSOCKET"), path)
        self.numbers[key] = self.numbers.get(key, 0) + 1
        running = self.running
        running[path] = running.get(path, 0) + 1
        call = Call(self.app, scope, body, self.numbers[key], lambda: running[path])
        try:
            answer = self.fault(call) if self.fault is not None else None
            await (answer or self.app)(scope, receive, send)
        finally:
            running[path] -= 1


async def read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a receive that yields the body, and then waits for the disconnect."""
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return parts.pop() if parts else await receive()

    return replayed


def plain(status: int, text: str = "", **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return PlainTextResponse(text, status, named)
