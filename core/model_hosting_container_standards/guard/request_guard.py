"""Who is let in, and with how much."""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from .api_key import is_known, is_public, reject
from .body_limit import limit_body, read_length

_AUTHORIZATION: Final = b"authorization"
_CONTENT_LENGTH: Final = b"content-length"
_TRANSFER_ENCODING: Final = b"transfer-encoding"


class RequestGuard:
    """Asks for a key, and refuses bodies that are too long.

    One layer and one walk over the headers for both, and no coroutine of its own:
    every request pays for it.

    Args:
        keys: what clients may have; none: nobody needs one.
        limit: the most bytes of a body; None: there is no limit.
        free: paths for which nobody needs a key.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Collection[str],
        limit: int | None,
        free: Collection[str] = (),
    ) -> None:
        self.app = app
        self.limit = limit
        self._free = free
        # As environments and clients have what is no ASCII.
        self._keys = [key.encode(errors="surrogateescape") for key in keys]

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        credentials: bytes | None = None
        length = b""
        is_chunked = False
        for name, value in scope.get("headers", ()):
            if name == _AUTHORIZATION and credentials is None:  # As engines read it.
                credentials = value
            elif name == _CONTENT_LENGTH:
                length = value
            elif name == _TRANSFER_ENCODING:
                is_chunked = True
        # What has a key need not be looked at.
        if self._keys and not self._lets_in(credentials, scope):
            return reject(scope, receive, send)
        if (limit := self.limit) is None:
            return self.app(scope, receive, send)
        # Of the two, the length is the one that does not count.
        announced = None if is_chunked else read_length(length)
        if announced is not None and announced <= limit:
            return self.app(scope, receive, send)
        return limit_body(limit, announced, self.app)(scope, receive, send)

    def _lets_in(self, credentials: bytes | None, scope: Scope) -> bool:
        return is_known(credentials, self._keys) or is_public(scope, self._free)
