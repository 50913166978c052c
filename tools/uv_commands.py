"""Runs uv for the tools that create environments."""

import subprocess
import sys
from pathlib import Path
from typing import Final

UV: Final = (sys.executable, "-m", "uv")


def uv(*arguments: str) -> None:
    """Run a command of uv, and exit if it fails."""
    command = [*UV, *arguments, "--quiet"]
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"failed: {' '.join(command)}")


def run_probe(python: Path, code: str, problem: str) -> None:
    """Run code in an environment; exit with its output and ``problem`` if it fails."""
    command = [str(python), "-c", code]
    end = subprocess.run(command, capture_output=True, check=False, text=True)
    if end.returncode:
        # An extension for another processor ends Python by a signal, without a message.
        how = f" (exit status {end.returncode})" if end.returncode < 0 else ""
        sys.exit(f"{end.stdout}{end.stderr}\n{problem}{how}")


def say(text: str) -> None:
    print(text, flush=True)
