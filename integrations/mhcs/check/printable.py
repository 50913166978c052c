"""Text that a terminal, XML and HTML can show, whatever a server has sent."""

from __future__ import annotations

import re
from typing import Final

#: Control characters, which could change a terminal, surrogates and what XML forbids.
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def printable(text: str) -> str:
    """Return the text with such characters as ``\\xNN`` or ``\\uNNNN``."""
    return _UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
