"""Run a command as process 1 of a new process namespace, as in a container."""

from __future__ import annotations

import subprocess
from typing import Final

import pytest

UNSHARE: Final = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def can_unshare() -> bool:
    """Whether this machine can make process namespaces."""
    try:
        return subprocess.run([*UNSHARE, "true"], check=False).returncode == 0
    except FileNotFoundError:
        return False


needs_namespaces: Final = pytest.mark.skipif(
    not can_unshare(), reason="cannot make process namespaces"
)
