"""Who is let in, and with how much."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Iterable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from ...common.fastapi.middleware.errors import refuse
from .api_key import is_free, is_known, turn_away
from .body_limit import Body, read_length, too_long

_AUTHORIZATION: Final = b"authorization"
_CONTENT_LENGTH: Final = b"content-length"
_TRANSFER_ENCODING: Final = b"transfer-encoding"


class Gate:
    """Asks for a key, and refuses bodies that are too long.

    One layer and one walk over the headers for both, and no coroutine of its own:
    every request pays for it.

    Args:
        keys: what clients may have; none: nobody needs one.
        limit: the most bytes of a body; None: there is no limit.
    """

    def __init__(self, app: ASGIApp, keys: Collection[str], limit: int | None) -> None:
        self.app = app
        self.limit = limit
        # As environments and clients have what is no ASCII.
        self._keys = [key.encode(errors="surrogateescape") for key in keys]

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        credentials, length = _read(scope.get("headers", ()))
        # What has a key need not be looked at.
        if self._keys and not is_known(credentials, self._keys) and not is_free(scope):
            return turn_away(scope, receive, send)
        if self.limit is None or scope["type"] != "http":
            return self.app(scope, receive, send)
        announced = read_length(length)
        if announced is None:
            return Body(self.limit, scope, receive, send).pass_on(self.app)
        if announced > self.limit:
            return refuse(too_long(self.limit), scope, receive, send)
        return self.app(scope, receive, send)


def _read(headers: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """Return the credentials, and the length if the body is as long as that."""
    credentials = length = b""
    is_chunked = False
    for name, value in headers:
        if name == _AUTHORIZATION:
            credentials = value
        elif name == _CONTENT_LENGTH:
            length = value
        elif name == _TRANSFER_ENCODING:
            is_chunked = True  # Of the two, the length is the one that does not count.
    return credentials, b"" if is_chunked else length
