"""What a program leaves behind when it ends: workers, which may hold a GPU."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Final, NoReturn

_PR_SET_CHILD_SUBREAPER: Final = 36
_POLL_S: Final = 0.02
#: Of what /proc says of a process, counted from behind its name.
_STATE, _PARENT = 0, 1


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


def die_with_descendants() -> NoReturn:
    """Kill this process, after its children, their children, and so on."""
    for pid in (*descendants(os.getpid()), os.getpid()):
        _send(pid, signal.SIGKILL)
    # Process 1 of a container is still there: the kernel spares it what it sends.
    os._exit(128 + signal.SIGKILL)


def children() -> list[int]:
    """Return the children of this process, also those that wait to be reaped."""
    return [pid for pid, parent in _parents().items() if parent == os.getpid()]


def descendants(ancestor: int) -> list[int]:
    """Return the children of a process, their children, and so on."""
    parents = _parents()
    found = [ancestor]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def lives(pid: int) -> bool:
    """Whether a process runs: one that only waits to be reaped does not."""
    return _field(Path(f"/proc/{pid}/stat"), _STATE) not in (None, "Z", "X")


def _parents() -> dict[int, int]:
    """Return the parent of each process."""
    stats = Path("/proc").glob("[0-9]*/stat")
    found = {int(stat.parent.name): _field(stat, _PARENT) for stat in stats}
    return {pid: int(parent) for pid, parent in found.items() if parent is not None}


def _field(stat: Path, number: int) -> str | None:
    try:
        text = stat.read_text(errors="replace")
    except OSError:
        return None  # It is gone.
    # Its name is in parentheses, and may have spaces and parentheses of its own.
    return text.rpartition(")")[2].split()[number]


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
