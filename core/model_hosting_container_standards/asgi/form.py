"""Multipart forms: a field is added without reading what else there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fastapi import HTTPException
from starlette.types import Message, Receive, Scope

from .body import read_body, replay

_FORM: Final = b"multipart/form-data"


def read_boundary(content_type: bytes) -> bytes | None:
    """Return what separates the fields of a form; None: the body is something else.

    It is empty where the form's type names none that could be used.
    """
    if content_type[: len(_FORM)].lower() != _FORM:
        return None
    # Imported late: few requests have a form.
    from email.message import Message as Headers

    headers = Headers()
    headers["content-type"] = content_type.decode("latin-1")
    try:
        return (headers.get_boundary() or "").encode("latin-1")
    except ValueError:  # Encoded, and not as it says, or not what a header can hold.
        return b""


async def append_to_form(
    scope: Scope, receive: Receive, boundary: bytes, fields: Mapping[str, str]
) -> tuple[Scope, Receive]:
    """Return the request with more fields, each of which is the last of its name.

    Raises:
        HTTPException: 400, the form is not whole.
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
