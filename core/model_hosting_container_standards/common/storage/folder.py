"""Folders that are ours alone."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from ...exceptions import StorageError

SHARED_MEMORY: Final = Path("/dev/shm")
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def default_parent(name: str) -> Path:
    """Return where a folder of this name lives if nobody says where.

    Shared memory lives as long as the container, and never waits for a disk.
    """
    in_memory = SHARED_MEMORY.is_dir() and os.access(SHARED_MEMORY, os.W_OK)
    return (SHARED_MEMORY if in_memory else Path(tempfile.gettempdir())) / name


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
