"""Bodies as formatters give them."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

JSON_TYPE: Final = b"application/json"
Header = tuple[bytes, bytes]


def encode_content(content: Any) -> bytes:
    """Return bytes as they are, text as UTF-8, and anything else as JSON.

    Raises:
        TypeError: it is no JSON either.
    """
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    if isinstance(content, str):
        return content.encode()
    if not isinstance(content, dict | list):
        raise TypeError(
            f"A body is bytes, text, a dict or a list, not {type(content).__name__}."
        )
    try:
        return msgspec.json.encode(content)
    except (ValueError, OverflowError, RecursionError):
        return json.dumps(content).encode()


def is_content(value: Any) -> bool:
    """Whether a formatter that returned this meant a body."""
    return isinstance(value, bytes | bytearray | memoryview | str | dict | list)


def with_header(headers: list[Header], name: bytes, value: bytes) -> list[Header]:
    """Return the headers with one of them replaced, or added."""
    return [*(item for item in headers if item[0] != name), (name, value)]
