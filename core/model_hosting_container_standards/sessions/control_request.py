"""Recognises requests that begin or end a session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..asgi.body import decode_object

#: Bytes. A control request is a short JSON object; longer bodies are not inspected.
CONTROL_REQUEST_LIMIT: Final = 4096
REQUEST_TYPE: Final = "requestType"
NEW_SESSION: Final = "NEW_SESSION"
CLOSE: Final = "CLOSE"
_KEY: Final = b'"requestType"'


def control_request_in(body: bytes | None) -> dict[str, Any] | None:
    """Return a short body if it is a JSON object with a ``requestType``, else None."""
    if not body or _KEY not in body:
        return None
    document = decode_object(body)
    return None if document is None or REQUEST_TYPE not in document else document


def may_be_control(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether there is a body that may be within the limit."""
    length = headers.get(b"content-length")
    if length is None:
        return b"transfer-encoding" in headers
    return length.isdigit() and 0 < int(length) <= CONTROL_REQUEST_LIMIT
