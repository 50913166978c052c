"""Check API key and body size of each request."""

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
    """Middleware that requires an API key, and refuses bodies that are too long.

    Both checks share one layer and one pass over the headers, without a coroutine of
    their own, as they cost every request time.

    Args:
        keys: valid API keys; empty: no key is required.
        limit: maximum length of a body, in bytes; None: no limit.
        public: paths that need no key.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Collection[str],
        limit: int | None,
        public: Collection[str] = (),
    ) -> None:
        self.app = app
        self.limit = limit
        self._public = public
        # The bytes of a key that is not ASCII, as the environment had them.
        self._keys = [key.encode(errors="surrogateescape") for key in keys]

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        credentials: bytes | None = None
        length = b""
        is_chunked = False
        for name, value in scope.get("headers", ()):
            # The first header counts, as in the engines.
            if name == _AUTHORIZATION and credentials is None:
                credentials = value
            elif name == _CONTENT_LENGTH:
                length = value
            elif name == _TRANSFER_ENCODING:
                is_chunked = True
        if self._keys and not self._admits(credentials, scope):
            return reject(scope, receive, send)
        if (limit := self.limit) is None:
            return self.app(scope, receive, send)
        # With Transfer-Encoding, Content-Length is ignored (RFC 9112).
        announced = None if is_chunked else read_length(length)
        if announced is not None and announced <= limit:
            return self.app(scope, receive, send)
        return limit_body(limit, announced, self.app)(scope, receive, send)

    def _admits(self, credentials: bytes | None, scope: Scope) -> bool:
        # The key first: it is the cheaper check.
        return is_known(credentials, self._keys) or is_public(scope, self._public)
