"""What the supervisor and the server's processes tell each other: small files.

Each process that answers requests has a seat: a file named after it, with the time at
which it was last well. It is gone once the process has nothing left to answer.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from pathlib import Path
from typing import Final

from .orphans import lives

#: When the process was well, by ``time.monotonic``, and whether its engine is hung.
_REPORT: Final = struct.Struct("d?")
_DEADLINE: Final = struct.Struct("d")
_END: Final = "end"
#: How long servers have to cut short what they could not answer in time, in seconds.
LAST_WORD_S: Final = 1.5
_SERVED: Final = "served"


class Seat:
    """A server process's place at the board."""

    def __init__(self, folder: Path) -> None:
        self._end = folder / _END
        self._folder = folder
        self._descriptor: int | None = None

    def take(self) -> None:
        """Be seen by the supervisor.

        Raises:
            OSError: the folder is gone, or full.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._file, flags, 0o600)
        (self._folder / _SERVED).touch(0o600)
        self.report(is_hung=False)

    @property
    def _file(self) -> Path:
        # Not kept: a server may fork after it was made.
        return self._folder / str(os.getpid())

    def report(self, *, is_hung: bool) -> None:
        """Say that this process is well, and whether its engine is."""
        if self._descriptor is not None:
            # In its place: a disk that is full by now has room for it.
            report = _REPORT.pack(time.monotonic(), is_hung)
            os.pwrite(self._descriptor, report, 0)

    def deadline(self) -> float | None:
        """Return by when the server has to have answered all it has, if it has to."""
        try:
            return float(_DEADLINE.unpack(self._end.read_bytes())[0])
        except (OSError, struct.error):
            return None

    def leave(self) -> None:
        """There is nothing left to answer."""
        if self._descriptor is not None:
            self._file.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


class Board:
    """The supervisor's view of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def call_for_the_end(self, deadline: float) -> None:
        """Ask all to begin nothing new, and to be done by ``deadline``."""
        new = self.folder / f"{_END}.new"
        # Who cannot be asked hears of the signal itself.
        with contextlib.suppress(OSError):
            new.write_bytes(_DEADLINE.pack(deadline))
            new.rename(self.folder / _END)

    def is_empty(self) -> bool:
        """Whether nothing is being answered any more."""
        return not self._seats()

    def hung(self, stall_s: float) -> str | None:
        """Say which process is hung, or has an engine that is."""
        for pid, file in self._seats().items():
            with contextlib.suppress(OSError, struct.error):
                well_at, is_hung = _REPORT.unpack(file.read_bytes())
                if is_hung:
                    return f"the engine of process {pid} is hung"
                if (silent := time.monotonic() - well_at) > stall_s:
                    return f"process {pid} is hung since {silent:.0f} s"
        return None

    def has_served(self) -> bool:
        """Whether the program has begun to answer requests."""
        return (self.folder / _SERVED).exists()

    def clear(self) -> None:
        """Forget a program that has ended."""
        for file in self._files():
            file.unlink(missing_ok=True)

    def _seats(self) -> dict[int, Path]:
        files = [file for file in self._files() if file.name.isdecimal()]
        return {pid: file for file in files if lives(pid := int(file.name))}

    def _files(self) -> list[Path]:
        try:
            return [*self.folder.iterdir()]
        except OSError:
            return []  # Somebody has cleared the temporary folder.
