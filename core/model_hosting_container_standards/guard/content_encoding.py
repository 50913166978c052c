"""Bodies that were compressed are unpacked before anything reads them."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator
from typing import Final

from fastapi import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from ..asgi.body import replace_body
from ..asgi.errors import refuse
from ..contract.headers import CONTENT_ENCODING, header_text
from ..settings import Settings

#: Bytes that a body may unpack to where no limit is set: a thousandth of them makes so
#: much. It is what SageMaker lets a batch transform send at most.
DEFAULT_LIMIT: Final = 100 << 20

_GZIP: Final = frozenset({"gzip", "x-gzip"})
_IDENTITY: Final = frozenset({"", "identity"})
#: zlib's: with gzip's header and check sum.
_WINDOW_BITS: Final = zlib.MAX_WBITS | 16
#: Bytes that are unpacked before others get their turn: some milliseconds.
_STEP: Final = 1 << 20
_LONGEST_SHOWN: Final = 64
_LENGTHS: Final = frozenset({b"content-length", b"transfer-encoding"})


class Decompression:
    """Unpacks bodies of gzip, and refuses those of other encodings.

    Args:
        limit: the most bytes that a body may unpack to; None: :data:`DEFAULT_LIMIT`.
    """

    def __init__(self, app: ASGIApp, limit: int | None) -> None:
        self.app = app
        self.limit = DEFAULT_LIMIT if limit is None else limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if _is_gzip(scope):
                body = await self._unpack(receive)
                scope = _with_length(scope, len(body))
                receive = replace_body(receive, body)
        except HTTPException as error:
            await refuse(error, scope, receive, send)
        except ClientDisconnect:
            return  # Nobody is left to be answered.
        else:
            await self.app(scope, receive, send)

    async def _unpack(self, receive: Receive) -> bytes:
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
    """Unpacks gzip piece by piece, of as many members as there are.

    Its methods raise an :class:`HTTPException`: 400, it is not gzip; 413, it is too
    long.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._length = 0
        self._pieces: list[bytes] = []
        self._member = zlib.decompressobj(_WINDOW_BITS)
        self._has_begun = False

    def feed(self, data: bytes) -> Iterator[None]:
        """Unpack more of it. Yields where others may have their turn."""
        is_full = False
        while data or is_full:
            if self._member.eof:
                # As gzip itself does: members may be padded.
                if not (data := data.lstrip(b"\0")):
                    return
                self._member = zlib.decompressobj(_WINDOW_BITS)
            self._has_begun = True
            wanted = min(_STEP, self._limit + 1 - self._length)
            piece = self._decompress(data, wanted)
            self._keep(piece)
            data = self._member.unconsumed_tail or self._member.unused_data
            # More may be left of what it has read already.
            is_full = len(piece) == wanted and not self._member.eof
            if is_full:
                yield

    def finish(self) -> bytes:
        """Return what was unpacked."""
        if self._has_begun and not self._member.eof:
            raise HTTPException(400, "The body of Content-Encoding: gzip is cut off.")
        return b"".join(self._pieces)

    def _decompress(self, data: bytes, wanted: int) -> bytes:
        try:
            return self._member.decompress(data, wanted)
        except zlib.error:
            raise HTTPException(
                400, "The body is not gzip, which Content-Encoding says it is."
            ) from None

    def _keep(self, piece: bytes) -> None:
        self._length += len(piece)
        if self._length > self._limit:
            raise HTTPException(
                413,
                f"The body unpacks to more than {self._limit} bytes, which is what "
                f"this server takes ({Settings.max_body_bytes.name}).",
            )
        self._pieces.append(piece)


def _is_gzip(scope: Scope) -> bool:
    """Return whether a body is to be unpacked.

    Raises:
        HTTPException: 415, it has another encoding, or several.
    """
    values = [v for name, v in scope["headers"] if name == CONTENT_ENCODING]
    encoding = ", ".join(map(header_text, values)).strip().lower()
    if encoding in _GZIP:
        return True
    if encoding in _IDENTITY:
        return False
    raise HTTPException(
        415,
        f"Content-Encoding {encoding[:_LONGEST_SHOWN]!r} is not taken: send the body "
        "as it is, or as gzip.",
        {"Accept-Encoding": "gzip"},
    )


def _with_length(scope: Scope, length: int) -> Scope:
    """Return the scope of a body that was never compressed."""
    headers = [
        (name, value)
        for name, value in scope["headers"]
        if name != CONTENT_ENCODING and name not in _LENGTHS
    ]
    headers.append((b"content-length", str(length).encode()))
    return {**scope, "headers": headers}
