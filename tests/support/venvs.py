"""Virtual environments for tests, cached under ``build/`` between runs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

from servers import run_until_exit

ROOT: Final = Path(__file__).parents[2]
BUILD: Final = ROOT / "build"

UV: Final = (sys.executable, "-m", "uv")
#: Includes downloads and builds.
TIMEOUT_S: Final = 300


def make_venv(folder: Path, *options: str) -> Path:
    """Make a new environment with this Python, and return its interpreter."""
    shutil.rmtree(folder, ignore_errors=True)
    run(*UV, "venv", "--quiet", "--python", sys.executable, *options, str(folder))
    return folder / "bin" / "python"


def install(python: Path, *requirements: str) -> None:
    run(*UV, "pip", "install", "--quiet", "--python", str(python), *requirements)


def kept_venv(folder: Path, *requirements: str) -> Path:
    """Return the interpreter of a cached environment with the requirements.

    It is rebuilt when they, or ``pyproject.toml``, have changed.
    """
    python = folder / "bin" / "python"
    recipe = "\n".join([*requirements, (ROOT / "pyproject.toml").read_text()])
    stored = folder / "recipe"
    if not (stored.is_file() and stored.read_text() == recipe):
        make_venv(folder)
        install(python, *requirements)
        stored.write_text(recipe)
    return python


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Return the output of a command that must succeed."""
    end = run_until_exit(command, cwd=cwd, timeout=TIMEOUT_S)
    words = " ".join(str(part) for part in command)
    assert end.status == 0, f"{words}\n{end.stdout}{end.stderr}"
    return end.stdout
