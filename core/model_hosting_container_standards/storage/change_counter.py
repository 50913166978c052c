"""A counter in shared memory that tells processes whether their cache is current."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Final

_SIZE: Final = 8


class ChangeCounter:
    """Counts the changes of a database; reading it is one memory access.

    An even value means that all changes are complete. An odd one means that a change is
    being written, or that its writer died: a reader must not cache what it reads then.
    Only one process at a time may change the counter.
    """

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Extends the file when it is new, and does nothing afterwards.
            os.ftruncate(descriptor, _SIZE)
            # Without allocated space, a full disk would raise SIGBUS, not an error.
            os.posix_fallocate(descriptor, 0, _SIZE)
            self._map = mmap.mmap(descriptor, _SIZE)
        finally:
            os.close(descriptor)
        # An aligned machine word, so that reads and writes are atomic.
        self._numbers = memoryview(self._map).cast("Q")

    def read(self) -> int:
        return self._numbers[0]

    def begin(self) -> None:
        """Mark that a change is about to become visible."""
        self._numbers[0] |= 1

    def end(self) -> None:
        """Mark the change as complete."""
        self._numbers[0] = (self._numbers[0] | 1) + 1

    def close(self) -> None:
        self._numbers.release()
        self._map.close()
