"""Who has no key gets no answer."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable
from typing import Final

from fastapi import FastAPI, HTTPException
from starlette.types import Receive, Scope, Send

from ..asgi.errors import refuse
from ..engines.api import Engine
from ..exceptions import ConfigurationError
from ..observability.route_labels import local_path
from ..settings import Settings

#: Methods that change nothing: by them only what is below these paths is guarded.
_READING: Final = frozenset({"GET", "HEAD"})
_GUARDED: Final = frozenset({"adapters", "invocations", "v1"})
#: WebSocket's word for what a server's rules forbid.
_POLICY_VIOLATION: Final = 1008


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
                "with one, if it takes one",
            )
    return keys


def is_known(credentials: bytes | None, keys: Iterable[bytes]) -> bool:
    """Return whether they are ``Bearer KEY``, with one of the keys.

    It takes the same time for any key of the same length.
    """
    if credentials is None:
        return False
    scheme, _, given = credentials.partition(b" ")
    given = given.strip()
    found = False
    for key in keys:  # All, or the time would tell which one it was.
        found |= hmac.compare_digest(given, key)
    return found and scheme.lower() == b"bearer"


def is_public(scope: Scope, paths: Collection[str]) -> bool:
    """Return whether a request needs no key.

    One that sends anything does, and one that reads below ``/adapters`` or ``/v1``.
    ``paths`` are free: ``/ping``, by all its names.
    """
    if scope["type"] != "http":
        return bool(scope["type"] != "websocket")
    # A browser asks what it may send before it sends the key.
    if scope["method"] == "OPTIONS" or (path := local_path(scope)) in paths:
        return True
    # However many slashes there are: what might be led to a guarded route is guarded.
    first = next(filter(None, path.split("/")), "")
    reads: bool = scope["method"] in _READING
    return reads and first not in _GUARDED


async def reject(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer whoever has no key."""
    if scope["type"] == "http":
        await refuse(_unauthorized(), scope, receive, send)
    else:
        await receive()
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION})


def _unauthorized() -> HTTPException:
    return HTTPException(
        401,
        "This server wants a key: send the header Authorization: Bearer KEY.",
        {"WWW-Authenticate": "Bearer"},
    )
