"""Runs the compiler and binutils, which inspect and create shared libraries."""

import subprocess
import sys


def run(*command: str) -> str:
    """Return a command's standard output; its errors go to standard error."""
    try:
        end = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)
    except FileNotFoundError:
        sys.exit(f"This needs {command[0]}: install gcc and binutils.")
    if end.returncode:
        sys.exit(f"failed: {' '.join(command)}")
    return end.stdout
