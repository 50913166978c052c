"""Find the Python interpreter of a command, to install packages for it."""

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
#: Second line of a script whose interpreter path is too long for the shebang, or has
#: spaces: pip then writes a file that is both a shell and a Python script.
_SHELL_TRAMPOLINE: Final = "'''exec' "


def python_of(command: Sequence[str]) -> Path:
    """Return the interpreter of a command; ``sys.executable`` if it is unknown."""
    path = shutil.which(command[0])
    # Links are kept: an interpreter finds its virtual environment by the link's path.
    executable = Path(path).absolute() if path else Path(sys.executable)
    if _PYTHON.fullmatch(executable.name):
        return executable
    return (
        _python_of_script(executable)
        or _python_of_environment(executable)
        or Path(sys.executable)
    )


def _python_of_script(script: Path) -> Path | None:
    """Return the Python in the shebang of a script."""
    first, second = _first_lines(script)
    words = first.removeprefix("#!").split() if first.startswith("#!") else []
    if second.startswith(_SHELL_TRAMPOLINE):
        words = _words(second)[1:]
    elif words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if word[0] != "-" and "=" not in word]
    path = shutil.which(words[0]) if words else None
    python = Path(path).absolute() if path else None
    return python if python and _PYTHON.fullmatch(python.name) else None


def _first_lines(script: Path) -> tuple[str, str]:
    try:
        with script.open("rb") as file:
            start = os.fsdecode(file.read(4096))
    except OSError:
        return "", ""  # A file may be executable without being readable.
    first, _, rest = start.partition("\n")
    return first, rest.partition("\n")[0]


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return []


def _python_of_environment(executable: Path) -> Path | None:
    """Return the Python of the virtual environment that contains a command."""
    folder = executable.resolve().parent
    is_environment = (folder.parent / "pyvenv.cfg").is_file()
    python = folder / "python"
    return python if is_environment and python.exists() else None
