"""Heartbeats: files by which a supervisor and its server processes communicate.

Each process that serves requests has a file, named by its process id, with the time of
its last heartbeat. The file is removed once the process has answered all requests.
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

#: Time of the heartbeat, by ``time.monotonic``, and the engine's :class:`Condition`.
_REPORT: Final = struct.Struct("dB")
_DEADLINE: Final = struct.Struct("d")
_SHUTDOWN_FILE: Final = "end"
_SERVED_FILE: Final = "served"
#: Seconds that servers have to abort requests that were not answered in time.
LAST_WORD_S: Final = 1.5
#: Seconds that a server has to exit by itself once its engine is dead.
DEATH_S: Final = 10.0
#: Seconds without a heartbeat after which a process's CPU activity is checked.
_SILENT_S: Final = 2.0


class Condition(IntEnum):
    """Condition of an engine, from good to bad."""

    WELL = 0
    #: The engine makes no progress; it may recover.
    HUNG = 1
    #: The engine is dead and cannot recover.
    DEAD = 2


class Problem(NamedTuple):
    """A problem of an engine, or of a server process."""

    condition: Condition
    reason: str
    #: Whether the server exits when its engine is dead.
    ends_server: bool = True


class WorkerHeartbeat:
    """The heartbeat file of a server process.

    Args:
        folder: the folder of the supervisor's :class:`HeartbeatDirectory`.
    """

    def __init__(self, folder: Path) -> None:
        self._shutdown_file = folder / _SHUTDOWN_FILE
        self._folder = folder
        self._descriptor: int | None = None

    def register(self) -> None:
        """Create the heartbeat file.

        Raises:
            OSError: the folder is missing, or the disk is full.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._file, flags, 0o600)
        (self._folder / _SERVED_FILE).touch(0o600)
        self.report(Condition.WELL)

    @property
    def _file(self) -> Path:
        # Not cached: a server may fork after this object was created.
        return self._folder / str(os.getpid())

    def report(self, condition: Condition) -> None:
        """Write a heartbeat with the condition of the engine."""
        if self._descriptor is not None:
            # Overwritten in place, which also works on a full disk.
            report = _REPORT.pack(time.monotonic(), condition)
            os.pwrite(self._descriptor, report, 0)

    def deadline(self) -> float | None:
        """Return when running requests must be done; None without a shutdown request.

        In seconds of ``time.monotonic``.
        """
        try:
            return float(_DEADLINE.unpack(self._shutdown_file.read_bytes())[0])
        except (OSError, struct.error):
            return None

    def processes(self) -> Collection[int]:
        """Return the ids of the registered server processes, this one included."""
        return _heartbeat_files(self._folder)

    def deregister(self) -> None:
        """Remove the heartbeat file, as all requests are answered."""
        if self._descriptor is not None:
            self._file.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


class HeartbeatDirectory:
    """The supervisor's view of all heartbeat files.

    Args:
        folder: an existing folder, passed to the servers by environment variable.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: CPU activity of the processes whose heartbeat is late.
        self._activities: dict[int, CPUActivity] = {}

    def request_shutdown(self, deadline: float) -> None:
        """Ask all processes to accept no new requests and to finish by ``deadline``.

        Args:
            deadline: in seconds of ``time.monotonic``.
        """
        temporary = self.folder / f"{_SHUTDOWN_FILE}.new"
        # Without the file the servers still receive the signal.
        with contextlib.suppress(OSError):
            temporary.write_bytes(_DEADLINE.pack(deadline))
            temporary.rename(self.folder / _SHUTDOWN_FILE)

    def is_empty(self) -> bool:
        """Whether no process is answering requests any more."""
        return not _heartbeat_files(self.folder)

    def problem(self, stall_s: float) -> Problem | None:
        """Return the worst problem of the processes and their engines, if any.

        Args:
            stall_s: seconds without heartbeat and CPU activity after which a process
                is hung.
        """
        problems = []
        for pid, file in _heartbeat_files(self.folder).items():
            with contextlib.suppress(OSError, struct.error, ValueError):
                reported_at, number = _REPORT.unpack(file.read_bytes())
                condition = Condition(number)
                if condition is not Condition.WELL:
                    reason = f"the engine of process {pid} is {condition.name.lower()}"
                    problems.append(Problem(condition, reason))
                elif (idle_s := self._idle_s(pid, reported_at)) > stall_s:
                    reason = f"process {pid} has been hung for {idle_s:.0f} s"
                    problems.append(Problem(Condition.HUNG, reason))
        return max(problems, default=None)

    def _idle_s(self, pid: int, reported_at: float) -> float:
        """Return the seconds without heartbeat and CPU activity.

        A process may compute for a client and be too busy for a heartbeat: a schema of
        a few bytes can take a server minutes to compile.
        """
        silent_s = time.monotonic() - reported_at
        if silent_s < _SILENT_S:
            self._activities.pop(pid, None)
            return 0.0
        if pid not in self._activities:
            self._activities[pid] = CPUActivity(lambda: (pid,))
        return min(silent_s, self._activities[pid].idle_s())

    def has_served(self) -> bool:
        """Whether a server of the program has started."""
        return (self.folder / _SERVED_FILE).exists()

    def clear(self) -> None:
        """Remove all files of a program that has exited."""
        self._activities.clear()
        for file in _files(self.folder):
            file.unlink(missing_ok=True)


def _heartbeat_files(folder: Path) -> dict[int, Path]:
    """Return the files of running processes, by process id."""
    files = [file for file in _files(folder) if file.name.isdecimal()]
    return {pid: file for file in files if is_running(pid := int(file.name))}


def _files(folder: Path) -> list[Path]:
    try:
        return [*folder.iterdir()]
    except OSError:
        return []  # The temporary folder was removed.
