"""Parses a request to ``/adapters`` into the document that shapes are applied to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import HTTPException
from starlette.requests import Request

from ..asgi.body import decode_object
from ..contract.headers import header_text
from ..handlers.shapes import CaseInsensitiveDict, fill_defaults

#: Bytes.
MAX_BODY_BYTES: Final = 1 << 20
ALIAS_HEADER: Final = "x-amzn-sagemaker-adapter-alias"


async def read_document(
    request: Request, defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Return ``{"body", "headers", "query_params", "path_params"}`` of a request.

    Without a body, the query parameters are the body. ``defaults`` maps dotted paths in
    the body to values for missing fields.

    Raises:
        HTTPException: 400, the body is not a JSON object; 413, it is larger than
            ``MAX_BODY_BYTES``.
    """
    query = dict(request.query_params)
    raw = await _read_body(request)
    body = decode_object(raw) if raw else dict(query)
    if body is None:
        raise HTTPException(
            400, "The body of an adapter request must be a JSON object."
        )
    fill_defaults(body, defaults)
    return {
        "body": body,
        "headers": CaseInsensitiveDict(
            {k.decode("latin-1"): header_text(v) for k, v in request.headers.raw}
        ),
        "query_params": query,
        "path_params": request.path_params,
    }


async def _read_body(request: Request) -> bytes:
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY_BYTES:
            raise HTTPException(413, f"Send at most {MAX_BODY_BYTES} bytes of JSON.")
    # Starlette's cache: a handler can read the body again.
    request._body = raw
    return raw


def shown_name(document: Mapping[str, Any]) -> str:
    """Return the adapter's name in answers: the alias header's value, if present."""
    return str(
        document["headers"].get(ALIAS_HEADER)
        or document["path_params"].get("adapter_name")
        or document["body"].get("name")
    )
