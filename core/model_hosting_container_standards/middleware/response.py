"""The response that a middleware or formatter gets and may change."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any, Final

from starlette.concurrency import iterate_in_threadpool
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from .content import JSON_TYPE, encode_content, is_json, with_header, without_headers

Chunk = bytes | str
_WITHOUT_BODY: Final = frozenset({204, 304})


class InterceptedResponse(Response):
    """The app's response before it is sent to the client.

    ``status_code`` and ``headers`` may be changed. A complete response has a ``body``
    to read and assign. A stream has a ``body_iterator``: assign another one to change
    the chunks; to send one complete response, read it to the end and assign ``body``.
    """

    def __init__(
        self, start: Message, body: bytes | None, chunks: AsyncIterable[Chunk] | None
    ) -> None:
        self.status_code = start["status"]
        # A copy: an app may reuse its list of headers.
        self.raw_headers = [*start.get("headers", ())]
        self.background = None
        self._body = body
        self._own_chunks = self._chunks = chunks
        self._is_new_body = False

    @property
    def body(self) -> bytes:
        if self._body is None:
            raise AttributeError(
                "The response is a stream: read response.body_iterator instead of "
                "response.body, or test response.is_stream first."
            )
        return self._body

    @body.setter
    def body(self, content: Any) -> None:
        self._body = encode_content(content)
        self._chunks = None
        self._is_new_body = True
        if is_json(content):
            self.headers["content-type"] = JSON_TYPE.decode()
        if is_json(content) or isinstance(content, str):
            del self.headers["content-encoding"]

    @property
    def is_stream(self) -> bool:
        """Whether it is sent in chunks and therefore has no ``body``."""
        return self._body is None

    @property
    def body_iterator(self) -> AsyncIterable[Chunk]:
        """The chunks of a stream; the whole body if it is not a stream."""
        return self._chunks or _once(self.body)

    @body_iterator.setter
    def body_iterator(self, chunks: AsyncIterable[Chunk] | Iterable[Chunk]) -> None:
        self._chunks = _as_async(chunks)
        self._body = None

    @property
    def is_passed_on(self) -> bool:
        """Whether it is a stream whose chunks were not replaced."""
        return self._body is None and self._chunks is self._own_chunks

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send(self.head())
        if self._body is not None:
            body = b"" if self.status_code in _WITHOUT_BODY else self._body
            await send({"type": "http.response.body", "body": body})
        else:
            async for chunk in self.body_iterator:
                content = chunk.encode() if isinstance(chunk, str) else chunk
                await send(
                    {"type": "http.response.body", "body": content, "more_body": True}
                )
            await send({"type": "http.response.body", "body": b""})
        if self.background is not None:
            await self.background()

    def head(self) -> Message:
        """Return its ``http.response.start`` message."""
        return {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self._headers_to_send(),
        }

    def _headers_to_send(self) -> list[tuple[bytes, bytes]]:
        is_new_stream = self._body is None and not self.is_passed_on
        if is_new_stream or self.status_code in _WITHOUT_BODY:
            return without_headers(self.raw_headers, b"content-length")
        if self._is_new_body:
            length = str(len(self.body)).encode()
            return with_header(self.raw_headers, b"content-length", length)
        return self.raw_headers


def _as_async(chunks: AsyncIterable[Chunk] | Iterable[Chunk]) -> AsyncIterable[Chunk]:
    if isinstance(chunks, AsyncIterable):
        return chunks
    if isinstance(chunks, str | bytes) or not isinstance(chunks, Iterable):
        raise TypeError(
            f"body_iterator is an iterator, not {type(chunks).__name__}: assign body."
        )
    return iterate_in_threadpool(chunks)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
