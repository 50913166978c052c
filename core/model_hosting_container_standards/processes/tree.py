"""The process tree: find, adopt and end descendants, which may hold a GPU."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Final, NoReturn

_PR_SET_CHILD_SUBREAPER: Final = 36
_POLL_S: Final = 0.02
#: Fields of /proc/PID/stat, counted from behind the process name.
_STATE, _PARENT, _USER_TIME, _SYSTEM_TIME = 0, 1, 11, 12
_TICKS_S: Final = os.sysconf("SC_CLK_TCK")


def adopt_orphans(adopting: bool = True) -> None:
    """Become the parent of orphaned descendants (child subreaper), as process 1 is."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(adopting), 0, 0, 0)


@contextlib.contextmanager
def adopting_orphans() -> Iterator[None]:
    """Adopt orphans within a block.

    The setting survives an exec, and a command executed later might never reap them.
    """
    adopt_orphans()
    try:
        yield
    finally:
        adopt_orphans(False)


def end_children(excluded: Container[int], grace_s: float = 0.0) -> None:
    """End and reap all children except ``excluded``: by SIGTERM, then by SIGKILL.

    Grandchildren become children when their parent ends, and are ended as well.

    Args:
        grace_s: seconds between SIGTERM and SIGKILL; 0 sends SIGKILL at once.
    """
    deadline = time.monotonic() + grace_s
    terminated: set[int] = set()
    while remaining := [pid for pid in children() if pid not in excluded]:
        late = time.monotonic() >= deadline
        for pid in remaining:
            if late or pid not in terminated:
                _send(pid, signal.SIGKILL if late else signal.SIGTERM)
                terminated.add(pid)
        for pid in remaining:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(_POLL_S)


def die_at(deadline: float) -> threading.Timer:
    """Kill this process and its descendants at ``deadline``, unless cancelled.

    Args:
        deadline: in seconds of ``time.monotonic``.
    """
    seconds = max(0.0, deadline - time.monotonic())
    timer = threading.Timer(seconds, die_with_descendants)
    timer.daemon = True
    timer.start()
    return timer


def die_with_descendants() -> NoReturn:
    """Kill all descendants of this process, then the process itself."""
    for pid in (*descendants(os.getpid()), os.getpid()):
        _send(pid, signal.SIGKILL)
    # Process 1 of a container survives: the kernel ignores a SIGKILL from itself.
    os._exit(128 + signal.SIGKILL)


def children(parent: int | None = None) -> list[int]:
    """Return the ids of a process's children, zombies included.

    Args:
        parent: id of the process; this process by default.
    """
    parent = os.getpid() if parent is None else parent
    return [pid for pid, its_parent in _parents().items() if its_parent == parent]


def descendants(ancestor: int) -> list[int]:
    """Return the ids of a process's children, their children, and so on."""
    parents = _parents()
    family = [ancestor]
    for pid in family:
        family += [child for child, parent in parents.items() if parent == pid]
    return family[1:]


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    return bool(fields := _fields(pid)) and fields[_STATE] not in "ZX"


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped, by SIGSTOP or a tracer."""
    return bool(fields := _fields(pid)) and fields[_STATE] in "Tt"


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that all threads of a process have used; 0 if none."""
    fields = _fields(pid)
    if not fields:
        return 0.0
    return (int(fields[_USER_TIME]) + int(fields[_SYSTEM_TIME])) / _TICKS_S


def _parents() -> dict[int, int]:
    """Return the parent's id of each process."""
    pids = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    return {pid: int(fields[_PARENT]) for pid in pids if (fields := _fields(pid))}


def _fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat behind the name; empty without a process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    # The name is in parentheses, and may contain spaces and parentheses.
    return text.rpartition(")")[2].split()


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
