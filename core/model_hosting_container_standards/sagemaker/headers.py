"""SageMaker's request headers, looked up once per request."""

from __future__ import annotations

from typing import Final

from starlette.types import Scope

PREFIX: Final = b"x-amzn-sagemaker-"
ADAPTER_IDENTIFIER: Final = PREFIX + b"adapter-identifier"
CUSTOM_ATTRIBUTES: Final = PREFIX + b"custom-attributes"
SESSION_ID: Final = PREFIX + b"session-id"


def sagemaker_headers(scope: Scope) -> dict[bytes, bytes]:
    """Return the request's SageMaker headers by lower-case name, without empty ones."""
    return {
        name: value
        for name, value in scope["headers"]
        if name.startswith(PREFIX) and value
    }


def header_text(value: bytes) -> str:
    """Return a header's value: UTF-8 as clients send it, else latin-1 as HTTP says."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
