"""Encodes bodies that customers return: bytes, text, or a dict or list as JSON."""

from __future__ import annotations

from typing import Any, Final

from ..asgi.body import encode_json

JSON_TYPE: Final = b"application/json"
_CONTENT: Final = (bytes, bytearray, memoryview, str, dict, list)
Header = tuple[bytes, bytes]


def is_content(value: Any) -> bool:
    """Whether a returned or assigned value is a body."""
    return isinstance(value, _CONTENT)


def is_json(value: Any) -> bool:
    """Whether a body is to be encoded as JSON."""
    return isinstance(value, dict | list)


def encode_content(content: Any) -> bytes:
    """Return the bytes of a body.

    Raises:
        TypeError: ``content`` is not a body, or cannot be encoded as JSON.
    """
    if not is_content(content):
        raise TypeError(
            f"A body is bytes, text, a dict or a list, not {type(content).__name__}."
        )
    if isinstance(content, str):
        return content.encode()
    return encode_json(content) if is_json(content) else bytes(content)


def with_header(headers: list[Header], name: bytes, value: bytes) -> list[Header]:
    """Return the headers with ``name`` set to ``value``."""
    return [*without_headers(headers, name), (name, value)]


def without_headers(headers: list[Header], *names: bytes) -> list[Header]:
    """Return the headers except those in ``names``."""
    return [item for item in headers if item[0] not in names]
