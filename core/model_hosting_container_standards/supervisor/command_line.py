"""Encode a command so that it passes through supervisord's configuration unchanged.

Percent signs, semicolons, quotes and newlines have a meaning there. A command that has
such characters is written in base64, behind ``python -m`` with this module's name,
which decodes it and executes it.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

#: Arguments that need no encoding, so that the configuration stays readable.
_PLAIN: Final = re.compile(r"[A-Za-z0-9@+=:,./_-]+")
_SEPARATOR: Final = "\0"
#: Linux limits a single argument to 128 KiB.
_MAX_ARGUMENT_LENGTH: Final = 100_000


def command_line(command: Sequence[str]) -> str:
    """Return the value of supervisord's ``command`` key that starts ``command``."""
    if all(_PLAIN.fullmatch(argument) for argument in command):
        return " ".join(command)
    module = [sys.executable, "-m", __name__, *encode(command)]
    return " ".join(shlex.quote(part) for part in module).replace("%", "%%")


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
        SystemExit: the command cannot be run; 127 if it was not found, else 126, as
            in a shell.
    """
    try:
        os.execvp(command[0], [*command])
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        sys.stderr.write(f"standard-supervisor: {command[0]}: {reason}\n")
        missing = isinstance(error, FileNotFoundError)
        raise SystemExit(127 if missing else 126) from None


if __name__ == "__main__":
    exec_command(decode(sys.argv[1:]))
