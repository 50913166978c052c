"""What the supervisor and the server's processes tell each other: small files.

Each process that answers requests has a seat: a file named after it, with the time at
which it was last well. It is gone once the process has nothing left to answer.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Collection
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

from .cpu_activity import CPUActivity
from .tree import is_running

#: When the process was well, by ``time.monotonic``, and how its engine is.
_REPORT: Final = struct.Struct("dB")
_DEADLINE: Final = struct.Struct("d")
_END: Final = "end"
#: How long servers have to cut short what they could not answer in time, in seconds.
LAST_WORD_S: Final = 1.5
#: How long a server has to end by itself once its engine is dead, in seconds.
DEATH_S: Final = 10.0
#: A process that has said nothing for so long is looked at, in seconds.
_SILENT_S: Final = 2.0
_SERVED: Final = "served"


class Condition(IntEnum):
    """How an engine is, from good to bad."""

    WELL = 0
    #: It does nothing any more; it may do so again.
    HUNG = 1
    #: It is known to be dead.
    DEAD = 2


class Problem(NamedTuple):
    """What is wrong with an engine, or with a process of the server."""

    condition: Condition
    reason: str
    #: Whether a server whose engine is dead ends with it.
    ends_server: bool = True


class WorkerHeartbeat:
    """A server process's place at the board."""

    def __init__(self, folder: Path) -> None:
        self._end = folder / _END
        self._folder = folder
        self._descriptor: int | None = None

    def register(self) -> None:
        """Be seen by the supervisor.

        Raises:
            OSError: the folder is gone, or full.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._file, flags, 0o600)
        (self._folder / _SERVED).touch(0o600)
        self.report(Condition.WELL)

    @property
    def _file(self) -> Path:
        # Not kept: a server may fork after it was made.
        return self._folder / str(os.getpid())

    def report(self, condition: Condition) -> None:
        """Say that this process is well, and how its engine is."""
        if self._descriptor is not None:
            # In its place: a disk that is full by now has room for it.
            report = _REPORT.pack(time.monotonic(), condition)
            os.pwrite(self._descriptor, report, 0)

    def deadline(self) -> float | None:
        """Return by when the server has to have answered all it has, if it has to."""
        try:
            return float(_DEADLINE.unpack(self._end.read_bytes())[0])
        except (OSError, struct.error):
            return None

    def processes(self) -> Collection[int]:
        """Return the processes of the server that have a seat, this one among them."""
        return _seats(self._folder)

    def deregister(self) -> None:
        """There is nothing left to answer."""
        if self._descriptor is not None:
            self._file.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


class HeartbeatDirectory:
    """The supervisor's view of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: Of processes that are silent.
        self._activities: dict[int, CPUActivity] = {}

    def request_shutdown(self, deadline: float) -> None:
        """Ask all to begin nothing new, and to be done by ``deadline``."""
        new = self.folder / f"{_END}.new"
        # Who cannot be asked hears of the signal itself.
        with contextlib.suppress(OSError):
            new.write_bytes(_DEADLINE.pack(deadline))
            new.rename(self.folder / _END)

    def is_empty(self) -> bool:
        """Whether nothing is being answered any more."""
        return not _seats(self.folder)

    def problem(self, stall_s: float) -> Problem | None:
        """Return the worst of what is wrong with the processes, and their engines.

        Args:
            stall_s: how long a process may neither say nor do anything.
        """
        problems = []
        for pid, file in _seats(self.folder).items():
            with contextlib.suppress(OSError, struct.error, ValueError):
                well_at, number = _REPORT.unpack(file.read_bytes())
                condition = Condition(number)
                if condition is not Condition.WELL:
                    reason = f"the engine of process {pid} is {condition.name.lower()}"
                    problems.append(Problem(condition, reason))
                elif (idle_s := self._idle_s(pid, well_at)) > stall_s:
                    reason = f"process {pid} is hung since {idle_s:.0f} s"
                    problems.append(Problem(Condition.HUNG, reason))
        return max(problems, default=None)

    def _idle_s(self, pid: int, well_at: float) -> float:
        """Return for how long a process has neither said nor computed anything.

        One that computes may do so for a client, and has no time to say that it is
        well: a schema of some bytes can take a server minutes to look at.
        """
        silent_s = time.monotonic() - well_at
        if silent_s < _SILENT_S:
            self._activities.pop(pid, None)
            return 0.0
        if pid not in self._activities:
            self._activities[pid] = CPUActivity(lambda: (pid,))
        return min(silent_s, self._activities[pid].idle_s())

    def has_served(self) -> bool:
        """Whether the program has begun to answer requests."""
        return (self.folder / _SERVED).exists()

    def clear(self) -> None:
        """Forget a program that has ended."""
        self._activities.clear()
        for file in _files(self.folder):
            file.unlink(missing_ok=True)


def _seats(folder: Path) -> dict[int, Path]:
    files = [file for file in _files(folder) if file.name.isdecimal()]
    return {pid: file for file in files if is_running(pid := int(file.name))}


def _files(folder: Path) -> list[Path]:
    try:
        return [*folder.iterdir()]
    except OSError:
        return []  # Somebody has cleared the temporary folder.
