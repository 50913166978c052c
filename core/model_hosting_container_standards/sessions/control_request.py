"""Requests to begin or end a session, told from requests to the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.types import Receive

from ..asgi.body import decode_object, peek_body

#: Bytes. A control request is one short JSON object; longer bodies are not looked into.
CONTROL_REQUEST_LIMIT: Final = 4096
REQUEST_TYPE: Final = "requestType"
NEW_SESSION: Final = "NEW_SESSION"
CLOSE: Final = "CLOSE"
_KEY: Final = b'"requestType"'


async def peek_control_request(
    headers: Mapping[bytes, bytes], receive: Receive
) -> tuple[dict[str, Any] | None, Receive]:
    """Return the body if it is a JSON object with a request type, and the request.

    The request is the whole of it, to be read again.
    """
    if not _may_be_short(headers):
        return None, receive
    body, receive = await peek_body(receive, CONTROL_REQUEST_LIMIT)
    if not body or _KEY not in body:
        return None, receive
    document = decode_object(body)
    if document is None or REQUEST_TYPE not in document:
        return None, receive
    return document, receive


def _may_be_short(headers: Mapping[bytes, bytes]) -> bool:
    """Whether there is a body, and nothing says that it is too long to look into."""
    length = headers.get(b"content-length")
    if length is None:
        return b"transfer-encoding" in headers
    return length.isdigit() and 0 < int(length) <= CONTROL_REQUEST_LIMIT
