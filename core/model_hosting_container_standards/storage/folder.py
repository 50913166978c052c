"""Private folders for state."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from ..contract.folders import SHARED_MEMORY
from ..exceptions import StorageError

#: Some containers have almost no shared memory.
_MIN_BYTES: Final = 8 * 2**20
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def default_parent(name: str) -> Path:
    """Return the default folder of this name, in shared memory or the temp folder.

    Shared memory lives as long as the container, and never waits for a disk. Containers
    with different users may share it, so another user's folder is avoided by a suffix.

    Raises:
        StorageError: neither is writable.
    """
    folder = (SHARED_MEMORY if _has_shared_memory() else _temporary_folder()) / name
    with contextlib.suppress(OSError):
        if folder.lstat().st_uid != os.geteuid():
            return folder.with_name(f"{name}-{os.geteuid()}")
    return folder


def _temporary_folder() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        raise StorageError(
            f"Neither {SHARED_MEMORY} nor a folder for temporary files can be written: "
            "mount one at /tmp, or let TMPDIR name one."
        ) from None


def _has_shared_memory() -> bool:
    if not (SHARED_MEMORY.is_dir() and os.access(SHARED_MEMORY, os.W_OK)):
        return False
    # Total, not free space, so that all processes of a server choose the same folder.
    filesystem = os.statvfs(SHARED_MEMORY)
    total = filesystem.f_blocks * filesystem.f_frsize
    return total == 0 or total >= _MIN_BYTES  # Zero: no limit.


def private_folder(parent: Path, name: str) -> Path:
    """Create ``parent/name`` if it is missing, writable by this user only.

    Raises:
        StorageError: it cannot be created, or belongs to another user.
    """
    folder = parent / name
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be created: {error.strerror or error}."
        ) from error
    if parent.stat().st_uid not in (0, os.geteuid()):
        raise StorageError(
            f"{parent} belongs to another user, who could replace {name}: choose "
            "another folder."
        )
    is_own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    if not is_own or status.st_mode & _OTHERS_WRITE:
        raise StorageError(
            f"{folder} must be a folder that this user owns and only this user can "
            "write to: remove it, or choose another one."
        )
    return folder
