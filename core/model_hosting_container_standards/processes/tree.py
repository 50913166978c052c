"""What a program leaves behind when it ends: workers, which may hold a GPU."""

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
#: Of what /proc says of a process, counted from behind its name.
_STATE, _PARENT, _USER_TIME, _SYSTEM_TIME = 0, 1, 11, 12
_TICKS_S: Final = os.sysconf("SC_CLK_TCK")


def adopt(adopting: bool = True) -> None:
    """Become the parent of whatever a child leaves behind, as process 1 is anyway."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(adopting), 0, 0, 0)


@contextlib.contextmanager
def adopted() -> Iterator[None]:
    """Adopt for a while: a command that this process becomes might never reap."""
    adopt()
    try:
        yield
    finally:
        adopt(False)


def end(spared: Container[int], grace_s: float = 0.0) -> None:
    """End every child but those that are spared: by SIGTERM, then by SIGKILL.

    Children of theirs become ours when they end, and end in their turn.
    """
    deadline = time.monotonic() + grace_s
    asked: set[int] = set()
    while orphans := [pid for pid in children() if pid not in spared]:
        late = time.monotonic() >= deadline
        for pid in orphans:
            if late or pid not in asked:
                _send(pid, signal.SIGKILL if late else signal.SIGTERM)
                asked.add(pid)
        for pid in orphans:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(_POLL_S)


def die_at(deadline: float) -> threading.Timer:
    """Kill this process and its descendants at ``deadline``, unless it is cancelled.

    Args:
        deadline: by ``time.monotonic``.
    """
    seconds = max(0.0, deadline - time.monotonic())
    timer = threading.Timer(seconds, die_with_descendants)
    timer.daemon = True
    timer.start()
    return timer


def die_with_descendants() -> NoReturn:
    """Kill this process, after its children, their children, and so on."""
    for pid in (*descendants(os.getpid()), os.getpid()):
        _send(pid, signal.SIGKILL)
    # Process 1 of a container is still there: the kernel spares it what it sends.
    os._exit(128 + signal.SIGKILL)


def children(parent: int | None = None) -> list[int]:
    """Return the children of a process, also those that wait to be reaped.

    Args:
        parent: this process, unless another is named.
    """
    parent = os.getpid() if parent is None else parent
    return [pid for pid, its_parent in _parents().items() if its_parent == parent]


def descendants(ancestor: int) -> list[int]:
    """Return the children of a process, their children, and so on."""
    parents = _parents()
    found = [ancestor]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def is_running(pid: int) -> bool:
    """Whether a process runs: one that only waits to be reaped does not."""
    return bool(fields := _fields(pid)) and fields[_STATE] not in "ZX"


def is_stopped(pid: int) -> bool:
    """Whether a process stands still because it was told to, by SIGSTOP or a tracer."""
    return bool(fields := _fields(pid)) and fields[_STATE] in "Tt"


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that all threads of a process have used; 0 if it is gone."""
    fields = _fields(pid)
    if not fields:
        return 0.0
    return (int(fields[_USER_TIME]) + int(fields[_SYSTEM_TIME])) / _TICKS_S


def _parents() -> dict[int, int]:
    """Return the parent of each process."""
    pids = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    return {pid: int(fields[_PARENT]) for pid in pids if (fields := _fields(pid))}


def _fields(pid: int) -> list[str]:
    """Return what /proc says of a process; nothing if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    # Its name is in parentheses, and may have spaces and parentheses of its own.
    return text.rpartition(")")[2].split()


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
