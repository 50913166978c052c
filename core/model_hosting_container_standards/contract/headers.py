"""Request headers, most of them SageMaker's."""

from __future__ import annotations

from typing import Final

CONTENT_ENCODING: Final = b"content-encoding"
CONTENT_TYPE: Final = b"content-type"
PREFIX: Final = b"x-amzn-sagemaker-"
ADAPTER_IDENTIFIER: Final = PREFIX + b"adapter-identifier"
CUSTOM_ATTRIBUTES: Final = PREFIX + b"custom-attributes"
MODEL_INVOCATION_PATH: Final = PREFIX + b"model-invocation-path"
NEW_SESSION_ID: Final = PREFIX + b"new-session-id"
SESSION_ID: Final = PREFIX + b"session-id"


def header_text(value: bytes) -> str:
    """Decode a header's value: UTF-8, as clients send it, else HTTP's latin-1."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
