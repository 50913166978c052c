"""Sends a request to an ASGI app, without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # Not installed where requests are only described, not sent.
    from fastapi import FastAPI

Message = MutableMapping[str, Any]
RawHeaders = Sequence[tuple[bytes, bytes]]


class Exchange:
    """One request, with a chunked body, and the app's response."""

    __slots__ = ("_end", "_messages", "chunks", "headers", "scope", "status")

    def __init__(
        self, method: str, target: str, headers: RawHeaders, chunks: Iterable[bytes]
    ) -> None:
        path, _, query = target.partition("?")
        self.scope: Message = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 8080),
            "client": ("127.0.0.1", 40000),
            "scheme": "http",
            "method": method,
            "root_path": "",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": list(headers),
            "state": {},
        }
        messages: list[Message] = [
            {"type": "http.request", "body": chunk, "more_body": True}
            for chunk in chunks
        ]
        messages[-1]["more_body"] = False
        self._messages = iter(messages)
        self._end = asyncio.Event()
        self.status = 0
        self.headers: RawHeaders = ()
        self.chunks: list[bytes] = []

    @property
    def content(self) -> bytes:
        return b"".join(self.chunks)

    async def ask(self, app: FastAPI, status: int = 200) -> bytes:
        """Send the request to the app and return the response's body.

        Raises:
            SystemExit: the response has another status.
        """
        await app(self.scope, self.receive, self.send)
        if self.status != status:
            raise SystemExit(f"{self.scope['path']}: {self.status} {self.content!r}")
        return self.content

    async def receive(self) -> Message:
        message = next(self._messages, None)
        if message is None:
            # Like a client that disconnects after it has received the response.
            await self._end.wait()
            return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = message["headers"]
            return
        if chunk := message["body"]:
            self.chunks.append(chunk)
        if not message.get("more_body", False):
            self._end.set()


def json_exchange(
    method: str,
    target: str,
    document: dict[str, Any] | None = None,
    headers: RawHeaders = (),
) -> Exchange:
    """Return a minimal request, with a JSON body or none."""
    body = b"" if document is None else json.dumps(document).encode()
    about = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    return Exchange(method, target, [*about, *headers], [body])
