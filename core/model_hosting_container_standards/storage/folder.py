"""Folders that are ours alone."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from ..contract.folders import SHARED_MEMORY
from ..exceptions import StorageError

#: Some containers have next to nothing of it.
_LEAST_BYTES: Final = 8 * 2**20
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def default_parent(name: str) -> Path:
    """Return where a folder of this name lives if nobody says where.

    Shared memory lives as long as the container, and never waits for a disk. Containers
    may share it, and run as different users, of whom each needs a folder of its own.

    Raises:
        StorageError: nothing can be written.
    """
    folder = (SHARED_MEMORY if _has_shared_memory() else _temporary()) / name
    with contextlib.suppress(OSError):
        if folder.lstat().st_uid != os.geteuid():
            return folder.with_name(f"{name}-{os.geteuid()}")
    return folder


def _temporary() -> Path:
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
    # Not what is free of it: all processes of a server have to find the same folder.
    whole = os.statvfs(SHARED_MEMORY)
    is_limited = whole.f_blocks > 0
    return not is_limited or whole.f_blocks * whole.f_frsize >= _LEAST_BYTES


def private_folder(parent: Path, name: str) -> Path:
    """Make ``parent/name``, which nobody else may write to, or find it.

    Raises:
        StorageError: it cannot be made, or is somebody else's.
    """
    folder = parent / name
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be made: {error.strerror or error}."
        ) from error
    if parent.stat().st_uid not in (0, os.geteuid()):
        raise StorageError(
            f"{parent} belongs to another user, who could take {name} away: choose "
            "another folder."
        )
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    if not is_ours or found.st_mode & _OTHERS_WRITE:
        raise StorageError(
            f"{folder} is not a folder of this user's that only this user can write "
            "to: remove it, or choose another one."
        )
    return folder
