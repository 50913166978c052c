"""A request to an ASGI app, without a server in between."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # Not there where nothing is asked, only told what to ask.
    from fastapi import FastAPI

Message = MutableMapping[str, Any]
RawHeaders = Sequence[tuple[bytes, bytes]]


class Exchange:
    """One request, whose body comes in chunks, and what the app sent back."""

    __slots__ = ("_messages", "content", "scope", "status")

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
        self.status = 0
        self.content = b""

    async def ask(self, app: FastAPI) -> bytes:
        """Return what the app answers.

        Raises:
            SystemExit: it refuses.
        """
        await app(self.scope, self.receive, self.send)
        if self.status != 200:
            raise SystemExit(f"{self.scope['path']}: {self.status} {self.content!r}")
        return self.content

    async def receive(self) -> Message:
        return next(self._messages, None) or {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.content += message["body"]
