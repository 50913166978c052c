"""The Python that a command runs by: packages for the command go where it looks."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_PYTHON: Final = re.compile(r"python(\d+(\.\d+)?)?")
#: Where a path is too long for the first line, or has spaces, a shell script stands
#: there that is a Python script too.
_LONG_PATH: Final = "'''exec' "


def python_of(command: Sequence[str]) -> Path:
    """Return the interpreter of a command; ours, if it cannot be told."""
    found = shutil.which(command[0])
    # Links stay: by the name of a link an interpreter knows its environment.
    executable = Path(found).absolute() if found else Path(sys.executable)
    if _PYTHON.fullmatch(executable.name):
        return executable
    return _of_script(executable) or _beside(executable) or Path(sys.executable)


def _of_script(script: Path) -> Path | None:
    """Return the Python that the first lines of a script name."""
    first, second = _first_lines(script)
    words = first.removeprefix("#!").split() if first.startswith("#!") else []
    if second.startswith(_LONG_PATH):
        words = _words(second)[1:]
    elif words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if word[0] != "-" and "=" not in word]
    found = shutil.which(words[0]) if words else None
    python = Path(found).absolute() if found else None
    return python if python and _PYTHON.fullmatch(python.name) else None


def _first_lines(script: Path) -> tuple[str, str]:
    try:
        with script.open("rb") as file:
            start = os.fsdecode(file.read(4096))
    except OSError:
        return "", ""  # It can be run all the same.
    first, _, rest = start.partition("\n")
    return first, rest.partition("\n")[0]


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return []


def _beside(executable: Path) -> Path | None:
    """Return the Python of the environment in which a command lies."""
    folder = executable.resolve().parent
    there = (folder.parent / "pyvenv.cfg").is_file()
    python = folder / "python"
    return python if there and python.exists() else None
