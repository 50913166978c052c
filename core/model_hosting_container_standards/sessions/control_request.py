"""Recognises requests that begin or end a session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.types import Receive

from ..asgi.body import decode_object, peek_body

#: Bytes. A control request is a short JSON object; longer bodies are not inspected.
CONTROL_REQUEST_LIMIT: Final = 4096
REQUEST_TYPE: Final = "requestType"
NEW_SESSION: Final = "NEW_SESSION"
CLOSE: Final = "CLOSE"
_KEY: Final = b'"requestType"'


async def peek_control_request(
    headers: Mapping[bytes, bytes], receive: Receive
) -> tuple[dict[str, Any] | None, Receive]:
    """Return the body if it is a JSON object with a ``requestType``, else None.

    The second item is a ``receive`` from which the whole body can be read again.
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
    """Return whether there is a body that may be within the limit."""
    length = headers.get(b"content-length")
    if length is None:
        return b"transfer-encoding" in headers
    return length.isdigit() and 0 < int(length) <= CONTROL_REQUEST_LIMIT
