"""A command on its way through supervisord's configuration, byte for byte.

There, percent signs, semicolons, quotes and line ends mean something. So a command goes
in as words of harmless characters, and what supervisord starts makes the command of
them, and becomes it.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

#: What needs no such words: a person may want to read the configuration.
_HARMLESS: Final = re.compile(r"[A-Za-z0-9@+=:,./_-]+")
_BETWEEN: Final = "\0"
#: Linux takes no argument of 128 KiB, however short the command is.
_LONGEST: Final = 100_000


def command_line(command: Sequence[str]) -> str:
    """Return what supervisord's ``command`` has to be to start ``command``."""
    if all(_HARMLESS.fullmatch(argument) for argument in command):
        return " ".join(command)
    module = [sys.executable, "-m", __name__, *encode(command)]
    return " ".join(shlex.quote(part) for part in module).replace("%", "%%")


def encode(command: Sequence[str]) -> list[str]:
    """Return a command as words of letters, digits, ``-``, ``_`` and ``=``."""
    whole = base64.urlsafe_b64encode(os.fsencode(_BETWEEN.join(command))).decode()
    return [whole[at : at + _LONGEST] for at in range(0, len(whole), _LONGEST)]


def decode(words: Sequence[str]) -> list[str]:
    """Undo :func:`encode`."""
    return os.fsdecode(base64.urlsafe_b64decode("".join(words))).split(_BETWEEN)


def exec_command(command: Sequence[str]) -> NoReturn:
    """Become the command: only what keeps it from running comes back, as an exit.

    Raises:
        SystemExit: it cannot be run; its status is the one that a shell would give.
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
