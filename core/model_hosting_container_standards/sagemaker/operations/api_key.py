"""Who has no key gets no answer."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Final

from fastapi import FastAPI, HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from ...common.fastapi.middleware.errors import refuse
from ...config import Settings
from ...engine import Engine
from ...exceptions import ConfigurationError
from .paths import PING, local_path

_AUTHORIZATION: Final = b"authorization"
#: Methods that change nothing: by them only what is below these paths is guarded.
_READING: Final = frozenset({"GET", "HEAD"})
_GUARDED: Final = frozenset({"adapters", "invocations", "v1"})
#: WebSocket's word for what a server's rules forbid.
_POLICY_VIOLATION: Final = 1008


class APIKey:
    """Asks for ``Authorization: Bearer KEY``.

    Of whoever sends anything, and of whoever reads below ``/adapters`` or ``/v1``;
    ``/ping`` is free. Comparing takes the same time for any key of the same length.
    """

    def __init__(self, app: ASGIApp, keys: Iterable[str]) -> None:
        self.app = app
        # As environments and clients have what is no ASCII.
        self._keys = [key.encode(errors="surrogateescape") for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # What has the key need not be looked at.
        if self._has_key(scope) or _is_free(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await refuse(_unauthorized(), scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})

    def _has_key(self, scope: Scope) -> bool:
        for name, value in scope.get("headers", ()):
            if name == _AUTHORIZATION:
                scheme, _, key = value.partition(b" ")
                return scheme.lower() == b"bearer" and self._is_known(key.strip())
        return False

    def _is_known(self, given: bytes) -> bool:
        found = False
        for key in self._keys:  # All, or the time would tell which one it was.
            found |= hmac.compare_digest(given, key)
        return found


def find_keys(app: FastAPI, settings: Settings, engine: Engine | None) -> set[str]:
    """Return the keys that clients may have; none: nobody needs one.

    Raises:
        ConfigurationError: a guard is asked for that has no key.
    """
    keys = {settings.api_key} if settings.api_key else set()
    if settings.guard:
        keys |= {*(engine.api_keys(app) if engine is not None else ())}
        if not keys:
            raise ConfigurationError(
                Settings.guard.name,
                "1",
                f"there is no key: set {Settings.api_key.name}, or start the engine "
                "with one (vLLM's --api-key)",
            )
    return keys


def _is_free(scope: Scope) -> bool:
    if scope["type"] != "http":
        return bool(scope["type"] != "websocket")
    # A browser asks what it may send before it sends the key.
    if scope["method"] == "OPTIONS" or (path := local_path(scope)) == PING:
        return True
    # However many slashes there are: what might be led to a guarded route is guarded.
    first = next(filter(None, path.split("/")), "")
    reads: bool = scope["method"] in _READING
    return reads and first not in _GUARDED


def _unauthorized() -> HTTPException:
    return HTTPException(
        401,
        "This server wants a key: send the header Authorization: Bearer KEY.",
        {"WWW-Authenticate": "Bearer"},
    )
