"""JSON Lines: the media types, and the lines of a body."""

from __future__ import annotations

from typing import Final

_JSON: Final = b"application/json"
_JSON_LINES: Final = frozenset(
    {b"application/jsonlines", b"application/x-jsonlines", b"application/x-ndjson"}
)


def json_lines_type(content_type: bytes | None) -> str | None:
    """Return the media type, without parameters, if it is one of JSON Lines."""
    if content_type is None or content_type == _JSON:
        return None
    media_type = content_type.partition(b";")[0].strip().lower()
    return media_type.decode() if media_type in _JSON_LINES else None


def split_lines(body: bytes) -> list[bytes]:
    """Return the lines of a body; blank ones are skipped."""
    return [line for line in map(bytes.strip, body.split(b"\n")) if line]
