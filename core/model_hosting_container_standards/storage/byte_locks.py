"""Locks between processes, by locking single bytes of a file."""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

#: ``struct flock`` of 64-bit Linux: type, whence, start, length, process.
_FLOCK: Final = struct.Struct("hhqqi0q")
_POLL_S: Final = 0.001
_MAX_POLL_S: Final = 0.05


class ByteLocks:
    """Shared and exclusive locks, by number.

    They are Linux's open file description locks: they belong to an open file rather
    than to a process, so two instances in one process exclude each other, too. The
    kernel releases the locks of a process that dies.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shared = self._open()

    def share(self, number: int) -> None:
        """Take a shared lock, or downgrade an exclusive one of :meth:`try_upgrade`.

        Raises:
            BlockingIOError: the lock is held exclusively.
        """
        _set(self._shared, fcntl.F_RDLCK, number)

    def release(self, number: int) -> None:
        """Release a shared lock."""
        _set(self._shared, fcntl.F_UNLCK, number)

    def try_exclusive(self, number: int) -> int | None:
        """Take an exclusive lock; None if it is held, shared or exclusively.

        Returns a file descriptor; closing it by ``os.close`` releases the lock.
        """
        descriptor = self._open()
        try:
            _set(descriptor, fcntl.F_WRLCK, number)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def try_upgrade(self, number: int) -> bool:
        """Make a shared lock exclusive; returns False if others share it."""
        try:
            _set(self._shared, fcntl.F_WRLCK, number)
        except BlockingIOError:
            return False
        return True

    @asynccontextmanager
    async def exclusive(self, number: int) -> AsyncIterator[None]:
        """Hold an exclusive lock within the block; waits for it without a limit."""
        pause = _POLL_S
        # Polled, because a thread that waits in the kernel cannot be cancelled.
        while (descriptor := self.try_exclusive(number)) is None:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MAX_POLL_S)
        try:
            yield
        finally:
            os.close(descriptor)

    def close(self) -> None:
        os.close(self._shared)

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _set(descriptor: int, kind: int, number: int) -> None:
    fcntl.fcntl(
        descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, number, 1, 0)
    )
