"""Run commands as a user without an entry in /etc/passwd, as containers may."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

UID: Final = 54_321
_DROP: Final = (
    "setpriv",
    f"--reuid={UID}",
    f"--regid={UID}",
    "--clear-groups",
    "--inh-caps=-all",
    "--ambient-caps=-all",
    # This user cannot write coverage's folder.
    "env",
    "--unset=COVERAGE_PROCESS_CONFIG",
)


def _as_another_user() -> tuple[str, ...]:
    """Return a command prefix that switches the user, and lets it read this Python."""
    python = Path(sys.base_prefix)
    folders = [folder for folder in reversed(python.parents) if folder.is_dir()]
    hidden = next((path for path in folders if not path.stat().st_mode & 0o001), None)
    if hidden is None:
        return _DROP
    # This Python lies in root's home: mount only Python there, for this command.
    visible, closed = shlex.quote(str(python)), shlex.quote(str(hidden))
    show = (
        f"mount --bind {visible} /mnt && mount -t tmpfs -o mode=755 none {closed} && "
        f'mkdir -p {visible} && mount --move /mnt {visible} && exec "$@"'
    )
    return ("unshare", "--mount", "sh", "-c", show, "sh", *_DROP)


AS_ANOTHER_USER: Final = _as_another_user()


def _can_switch_user() -> bool:
    if os.geteuid() != 0:
        return False
    command = [*AS_ANOTHER_USER, sys.executable, "-c", "pass"]
    try:
        end = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return end.returncode == 0


needs_another_user: Final = pytest.mark.skipif(
    not _can_switch_user(), reason="cannot run commands as another user"
)
