"""Append fields to a multipart form without parsing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastapi import HTTPException
from starlette.types import Message, Receive, Scope

from .body import read_body, replay

_FORM: Final = b"multipart/form-data"


def read_boundary(content_type: bytes) -> bytes | None:
    """Return the boundary of a multipart form; None for other content types.

    It is empty if the content type has no valid boundary.
    """
    if content_type[: len(_FORM)].lower() != _FORM:
        return None
    # Imported late: few requests have a form.
    from email.message import Message as Headers

    headers = Headers()
    headers["content-type"] = content_type.decode("latin-1")
    try:
        return (headers.get_boundary() or "").encode("latin-1")
    except ValueError:  # A wrongly encoded parameter (RFC 2231), or not latin-1.
        return b""


async def append_to_form(
    scope: Scope, receive: Receive, boundary: bytes, fields: Mapping[str, str]
) -> tuple[Scope, Receive]:
    """Return the request with fields appended; of equal names, the last one counts.

    Raises:
        HTTPException: 400, the form is incomplete.
    """
    raw = await read_body(receive)
    end = raw.rfind(b"--%b--" % boundary) if boundary else -1
    if end < 0:
        raise HTTPException(400, "The body is not a whole multipart/form-data form.")
    added = b"".join(
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        % (boundary, name.encode(), value.encode())
        for name, value in fields.items()
    )
    messages: list[Message] = [
        {"type": "http.request", "body": part, "more_body": True}
        for part in (raw[:end], added)
    ]
    messages.append({"type": "http.request", "body": raw[end:]})
    headers = [item for item in scope["headers"] if item[0] != b"content-length"]
    return {**scope, "headers": headers}, replay(messages, receive)
