"""API keys: which are valid, and which requests need one."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable
from typing import Final

from fastapi import FastAPI, HTTPException
from starlette.types import Receive, Scope, Send

from ..asgi.errors import refuse
from ..asgi.websockets import refuse_websocket
from ..engines.api import Engine
from ..exceptions import ConfigurationError
from ..observability.route_labels import local_path
from ..settings import Settings

#: Methods that need a key only below the guarded paths.
_READ_METHODS: Final = frozenset({"GET", "HEAD"})
_GUARDED: Final = frozenset({"adapters", "invocations", "v1"})


def find_keys(app: FastAPI, settings: Settings, engine: Engine | None) -> set[str]:
    """Return the valid API keys; empty if no key is required.

    Raises:
        ConfigurationError: the guard is on, but no key is set.
    """
    keys = {settings.api_key} if settings.api_key else set()
    if settings.guard:
        keys |= {*(engine.api_keys(app) if engine is not None else ())}
        if not keys:
            raise ConfigurationError(
                Settings.guard.name,
                "1",
                f"no API key is set: set {Settings.api_key.name}, or start the "
                "engine with one, if it supports keys",
            )
    return keys


def is_known(credentials: bytes | None, keys: Iterable[bytes]) -> bool:
    """Return whether the ``Authorization`` header is ``Bearer KEY`` with a valid key.

    The time is the same for all keys of the same length.
    """
    if credentials is None:
        return False
    scheme, _, given = credentials.partition(b" ")
    given = given.strip()
    matches = False
    for key in keys:  # Always all: the time must not tell which key matched.
        matches |= hmac.compare_digest(given, key)
    return matches and scheme.lower() == b"bearer"


def is_public(scope: Scope, paths: Collection[str]) -> bool:
    """Return whether a request needs no key.

    Public are ``paths`` (``/ping`` and its aliases), OPTIONS, and GET and HEAD outside
    ``/adapters``, ``/invocations`` and ``/v1``.
    """
    if scope["type"] != "http":
        return bool(scope["type"] != "websocket")
    # A browser's CORS preflight has no credentials.
    if scope["method"] == "OPTIONS" or (path := local_path(scope)) in paths:
        return True
    # Repeated slashes are ignored, as a router or proxy may merge them.
    first = next(filter(None, path.split("/")), "")
    is_read: bool = scope["method"] in _READ_METHODS
    return is_read and first not in _GUARDED


async def reject(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 401, also to the handshake of a WebSocket."""
    if scope["type"] == "http":
        await refuse(_unauthorized(), scope, receive, send)
    else:
        await refuse_websocket(_unauthorized(), scope, receive, send)


def _unauthorized() -> HTTPException:
    return HTTPException(
        401,
        "Missing or invalid API key: send the header Authorization: Bearer KEY.",
        {"WWW-Authenticate": "Bearer"},
    )
