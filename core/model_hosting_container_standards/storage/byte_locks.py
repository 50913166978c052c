"""Locks between processes: the bytes of a file, each of which is one lock."""

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
_LONGEST_POLL_S: Final = 0.05


class ByteLocks:
    """Shared and exclusive locks, by number.

    They belong to an open file rather than to a process (Linux's "open file description
    locks"), so they hold between two of these in one process too. The kernel frees
    those of a process that dies.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._shared = self._open()

    def share(self, number: int) -> None:
        """Take a shared lock, or make an exclusive one of :meth:`try_upgrade` shared.

        Raises:
            BlockingIOError: somebody has it for himself alone.
        """
        _set(self._shared, fcntl.F_RDLCK, number)

    def release(self, number: int) -> None:
        """Let go of a shared lock."""
        _set(self._shared, fcntl.F_UNLCK, number)

    def try_exclusive(self, number: int) -> int | None:
        """Take an exclusive lock, unless anybody has it.

        Returns what frees it when it is closed by ``os.close``.
        """
        descriptor = self._open()
        try:
            _set(descriptor, fcntl.F_WRLCK, number)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def try_upgrade(self, number: int) -> bool:
        """Make a shared lock exclusive, if nobody else shares it."""
        try:
            _set(self._shared, fcntl.F_WRLCK, number)
        except BlockingIOError:
            return False
        return True

    @asynccontextmanager
    async def exclusive(self, number: int) -> AsyncIterator[None]:
        """Hold an exclusive lock; wait for it as long as it takes."""
        pause = _POLL_S
        # Asked again and again: a thread that waits in the kernel cannot be cancelled.
        while (descriptor := self.try_exclusive(number)) is None:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_POLL_S)
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
