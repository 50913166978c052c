"""Write a command so that it passes through supervisord's configuration unchanged.

It stands there as for a shell, with ``%`` as ``%%``. supervisord reads the file as text
with comments, and only then splits the command, so that quotes alone do not protect
everything; but adjacent quoted pieces are one argument, and can be divided where the
file's syntax would interfere.

No quoting keeps a carriage return, which is read as the end of a line, and bytes that
are not text in the locale's encoding. A command with any of these is written in base64,
behind ``python -m`` with this module's name, which decodes it and executes it.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

#: Where the file's syntax interferes, even between quotes: at line ends, at ``;`` and
#: ``#`` behind white space, and in ``%(here)s``, which is replaced even behind ``%``.
_DIVIDED: Final = re.compile(r"(\n)|(?<=\s)(?=[;#])|(?<=%)(?=\()")
_SEPARATOR: Final = "\0"
#: Linux limits a single argument to 128 KiB.
_MAX_ARGUMENT_LENGTH: Final = 100_000


def command_line(command: Sequence[str]) -> str:
    """Return the value of supervisord's ``command`` key that starts ``command``."""
    if not all(map(_is_quotable, command)):
        command = [sys.executable, "-m", __name__, *encode(command)]
    return " ".join(map(_quote, command)).replace("%", "%%")


def comment_on(command: Sequence[str]) -> str | None:
    """Return a comment that explains an encoded command; None if it is not encoded."""
    if all(map(_is_quotable, command)):
        return None
    return (
        "; In base64, as no quotes keep a carriage return, or bytes that are no text: "
        f"{[*command]!a}"
    )


def _is_quotable(argument: str) -> bool:
    try:
        argument.encode(sys.getfilesystemencoding())
    except UnicodeEncodeError:
        return False
    return "\r" not in argument


def _quote(argument: str) -> str:
    """Quote an argument as for a shell, divided where the file's syntax interferes."""
    pieces = [piece for piece in _DIVIDED.split(argument) if piece] or [""]
    # A line that is indented continues the value; the indentation is dropped.
    return "".join(shlex.quote(piece) for piece in pieces).replace("\n", "\n ")


def encode(command: Sequence[str]) -> list[str]:
    """Return a command as arguments of letters, digits, ``-``, ``_`` and ``=``."""
    text = base64.urlsafe_b64encode(os.fsencode(_SEPARATOR.join(command))).decode()
    size = _MAX_ARGUMENT_LENGTH
    return [text[start : start + size] for start in range(0, len(text), size)]


def decode(words: Sequence[str]) -> list[str]:
    """Undo :func:`encode`."""
    return os.fsdecode(base64.urlsafe_b64decode("".join(words))).split(_SEPARATOR)


def exec_command(command: Sequence[str]) -> NoReturn:
    """Replace this process by the command.

    Raises:
        SystemExit: the command cannot be run.
    """
    try:
        os.execvp(command[0], [*command])
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        sys.stderr.write(f"standard-supervisor: {command[0]}: {reason}\n")
        raise SystemExit(start_failure_status(error)) from None


def start_failure_status(error: Exception) -> int:
    """Return the exit status for a command that cannot be run, as in a shell."""
    return 127 if isinstance(error, FileNotFoundError) else 126


if __name__ == "__main__":
    exec_command(decode(sys.argv[1:]))
