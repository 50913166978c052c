"""Decompress request bodies before anything reads them."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator
from typing import Final

from fastapi import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from ..asgi.body import replace_body
from ..asgi.errors import refuse
from ..contract.headers import CONTENT_ENCODING, header_text
from ..settings import Settings

#: Default limit of a decompressed body, in bytes: gzip can expand a body by a factor of
#: 1000. It is SageMaker's maximum payload of a batch transform.
DEFAULT_LIMIT: Final = 100 << 20

_GZIP: Final = frozenset({"gzip", "x-gzip"})
_IDENTITY: Final = frozenset({"", "identity"})
#: zlib's ``wbits`` for gzip's header and check sum.
_WINDOW_BITS: Final = zlib.MAX_WBITS | 16
#: Bytes that are decompressed before the event loop runs again: some milliseconds.
_STEP: Final = 1 << 20
_LONGEST_SHOWN: Final = 64
_LENGTHS: Final = frozenset({b"content-length", b"transfer-encoding"})


class Decompression:
    """Middleware that decompresses gzip bodies, and refuses other encodings.

    Args:
        limit: maximum length of a decompressed body, in bytes; None:
            :data:`DEFAULT_LIMIT`.
        takes_any: tells whether another encoding is the handler's to decode.
    """

    def __init__(
        self, app: ASGIApp, limit: int | None, takes_any: Callable[[Scope], bool]
    ) -> None:
        self.app = app
        self._takes_any = takes_any
        self.limit = DEFAULT_LIMIT if limit is None else limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if self._is_gzip(scope):
                body = await self._decompress(receive)
                scope = _with_length(scope, len(body))
                receive = replace_body(receive, body)
        except HTTPException as error:
            await refuse(error, scope, receive, send)
        except ClientDisconnect:
            return
        else:
            await self.app(scope, receive, send)

    def _is_gzip(self, scope: Scope) -> bool:
        """Return whether a request has a gzip body.

        Raises:
            HTTPException: 415 for another encoding, or several.
        """
        values = [v for name, v in scope["headers"] if name == CONTENT_ENCODING]
        encoding = ", ".join(map(header_text, values)).strip().lower()
        if encoding in _GZIP:
            return True
        if encoding in _IDENTITY or self._takes_any(scope):
            return False
        raise HTTPException(
            415,
            f"Content-Encoding {encoding[:_LONGEST_SHOWN]!r} is not supported: send "
            "the body uncompressed, or as gzip.",
            {"Accept-Encoding": "gzip"},
        )

    async def _decompress(self, receive: Receive) -> bytes:
        gunzip = Gunzip(self.limit)
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            for _ in gunzip.feed(message.get("body", b"")):
                await asyncio.sleep(0)
            if not message.get("more_body", False):
                return gunzip.finish()


class Gunzip:
    """Incremental decompression of gzip with any number of members.

    Its methods raise :class:`HTTPException`: 400 for invalid or incomplete gzip, 413
    above the limit.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._length = 0
        self._pieces: list[bytes] = []
        self._member = zlib.decompressobj(_WINDOW_BITS)
        self._has_started = False

    def feed(self, data: bytes) -> Iterator[None]:
        """Decompress more data; yield where the event loop should run."""
        is_full = False
        while data or is_full:
            if self._member.eof:
                # Members may be padded with zeros; gzip accepts that too.
                if not (data := data.lstrip(b"\0")):
                    return
                self._member = zlib.decompressobj(_WINDOW_BITS)
            self._has_started = True
            max_length = min(_STEP, self._limit + 1 - self._length)
            piece = self._decompress(data, max_length)
            self._append(piece)
            data = self._member.unconsumed_tail or self._member.unused_data
            # zlib may hold more output of data that it has consumed.
            is_full = len(piece) == max_length and not self._member.eof
            if is_full:
                yield

    def finish(self) -> bytes:
        """Return the decompressed body."""
        if self._has_started and not self._member.eof:
            raise HTTPException(400, "The gzip body is incomplete.")
        return b"".join(self._pieces)

    def _decompress(self, data: bytes, max_length: int) -> bytes:
        try:
            return self._member.decompress(data, max_length)
        except zlib.error:
            raise HTTPException(
                400, "The body is not gzip, as Content-Encoding states."
            ) from None

    def _append(self, piece: bytes) -> None:
        self._length += len(piece)
        if self._length > self._limit:
            raise HTTPException(
                413,
                f"The decompressed body has more than {self._limit} bytes, the "
                f"limit of this server ({Settings.max_body_bytes.name}).",
            )
        self._pieces.append(piece)


def _with_length(scope: Scope, length: int) -> Scope:
    """Return the scope of the same request with an uncompressed body."""
    headers = [
        (name, value)
        for name, value in scope["headers"]
        if name != CONTENT_ENCODING and name not in _LENGTHS
    ]
    headers.append((b"content-length", str(length).encode()))
    return {**scope, "headers": headers}
