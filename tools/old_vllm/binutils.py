"""The compiler and its tools, which say what is in a library and make new ones."""

import subprocess
import sys


def run(*command: str) -> str:
    """Return what a command printed. What it has to complain about, it says itself."""
    try:
        end = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)
    except FileNotFoundError:
        sys.exit(f"This needs {command[0]}: install gcc and binutils.")
    if end.returncode:
        sys.exit(f"failed: {' '.join(command)}")
    return end.stdout
