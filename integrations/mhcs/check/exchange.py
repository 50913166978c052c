"""A request to the container, and what came back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from .printable import printable

#: Characters of a body that reports show.
SHOWN: Final = 400
HIDDEN: Final = "***"
#: Shorter secrets may be a part of any word.
_SHORT: Final = 6
#: Follows the beginning of a text that was cut.
_ELLIPSIS: Final = "…"
#: A shorter beginning of a secret tells nothing of it.
_BEGINNING: Final = 4


@dataclass(slots=True)
class Exchange:
    """One request and its answer.

    Args:
        status: None if no answer came.
        answer: the answer's body, as far as it was read.
        error: why the answer is missing or incomplete.
        seconds: until the last byte came, with the time to connect.
        arrivals: for each part of the body, the seconds until it came and the number
            of bytes by then.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int | None = None
    answer_headers: list[tuple[str, str]] = field(default_factory=list)
    answer: bytearray = field(default_factory=bytearray)
    error: str | None = None
    is_unreachable: bool = False
    is_hung_up: bool = False
    seconds: float = 0.0
    arrivals: list[tuple[float, int]] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether the answer came, and came to its end."""
        return self.status is not None and self.error is None

    @property
    def timed_out(self) -> bool:
        return self.error is not None and self.error.startswith("no end within")

    def header(self, name: str) -> str | None:
        """Return the first answer header of the name, in any case."""
        name = name.lower()
        values = (value for key, value in self.answer_headers if key.lower() == name)
        return next(values, None)

    @property
    def content_type(self) -> str:
        """The answer's type in lower case, without parameters."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    @property
    def text(self) -> str:
        return self.answer.decode(errors="replace")

    @property
    def lines(self) -> list[str]:
        """The lines of the answer's body that are not blank."""
        # Split as bytes: str.splitlines also splits at U+2028 and the like, which JSON
        # may have within a string.
        lines = (line.decode(errors="replace") for line in self.answer.splitlines())
        return [line for line in lines if line.strip()]

    def document(self) -> Any:
        """Return the answer's JSON, or None if it is not JSON."""
        try:
            return json.loads(self.answer)
        except (ValueError, RecursionError):
            return None

    @property
    def request_line(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def outcome(self) -> str:
        """The status, or what went wrong."""
        if self.status is None:
            return self.error or "no answer"
        phrase = _phrase(self.status)
        return f"{phrase}, but {self.error}" if self.error else phrase


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What reports show of an exchange: bodies are cut, secrets are hidden."""

    sent: str
    came: str
    seconds: float


def excerpt(exchange: Exchange, secret: str | None) -> Excerpt:
    """Return the excerpt; ``secret`` appears nowhere in it."""
    sent = [exchange.request_line, *_lines(exchange.headers.items(), secret)]
    came = [exchange.outcome, *_lines(exchange.answer_headers, secret)]
    sent += _body(exchange.body, secret)
    came += _body(exchange.answer, secret)
    return Excerpt(
        printable(hide("\n".join(sent), secret)),
        printable(hide("\n".join(came), secret)),
        round(exchange.seconds, 6),
    )


def _lines(headers: Any, secret: str | None) -> list[str]:
    hidden = {"authorization", "cookie", "set-cookie"}
    return [
        f"{name}: {HIDDEN if name.lower() in hidden else cut(hide(value, secret))}"
        for name, value in headers
    ]


def _body(content: bytes | bytearray, secret: str | None) -> list[str]:
    # Hidden before it is cut: the cut could leave the beginning of a secret.
    text = hide(content.decode(errors="replace"), secret)
    return ["", cut(text)] if text else []


def cut(text: str, length: int = SHOWN) -> str:
    """Return the beginning of a text, and how much is left out."""
    if len(text) <= length:
        return text
    return f"{text[:length]}{_ELLIPSIS} ({len(text) - length} more characters)"


def hide(text: str, secret: str | None) -> str:
    """Return the text without the secret, also where a cut has left its beginning.

    A short one is hidden as a word only.
    """
    if not secret:
        return text
    edges = (r"(?<!\w)", r"(?!\w)") if len(secret) < _SHORT else ("", "")
    text = re.sub(edges[0] + re.escape(secret) + edges[1], HIDDEN, text)
    if _ELLIPSIS in text:
        for length in range(len(secret) - 1, _BEGINNING - 1, -1):
            text = text.replace(secret[:length] + _ELLIPSIS, HIDDEN + _ELLIPSIS)
    return text
