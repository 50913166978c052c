"""A number in shared memory that tells processes whether their view is current."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Final

_SIZE: Final = 8


class ChangeCounter:
    """Counts the changes of a database; reading it costs a memory access.

    Even: so many changes are complete. Odd: one is being written, or its writer died
    in the middle, so whoever reads the database now has to read it again next time.
    Only one process at a time may change it.
    """

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Longer than it is made by whoever comes first; the same for all others.
            os.ftruncate(descriptor, _SIZE)
            # Without a place of its own, a full disk would be a signal, not an error.
            os.posix_fallocate(descriptor, 0, _SIZE)
            self._map = mmap.mmap(descriptor, _SIZE)
        finally:
            os.close(descriptor)
        # Aligned and of the machine's size, so that it is read and written at once.
        self._numbers = memoryview(self._map).cast("Q")

    def read(self) -> int:
        return self._numbers[0]

    def begin(self) -> None:
        """Say that a change is about to become visible."""
        self._numbers[0] |= 1

    def end(self) -> None:
        """Say that it is complete."""
        self._numbers[0] = (self._numbers[0] | 1) + 1

    def close(self) -> None:
        self._numbers.release()
        self._map.close()
