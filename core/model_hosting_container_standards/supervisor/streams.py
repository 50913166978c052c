"""Standard output and error of a container: anything, or nothing at all.

They may be a pipe or a file of another user, which cannot be opened by its path, a
socket, which nobody can open, closed, or a pipe that nobody reads any more.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final, NoReturn

STDIN: Final = 0
STDOUT: Final = 1
STDERR: Final = 2
#: How long a line of this process waits for a reader that is slow, in seconds.
PATIENCE_S: Final = 0.2
_NOT_READ: Final = select.POLLERR | select.POLLHUP | select.POLLNVAL


def prepare() -> None:
    """Make descriptors 0 to 2 usable, and this process's own lines harmless.

    A descriptor that is closed would soon be that of some file or socket, and a child's
    output would go there.
    """
    if not _is_open(STDIN):
        _open_null(STDIN)
    replace_unread()
    sys.stdout, sys.stderr = _text(STDOUT), _text(STDERR)


def replace_unread() -> None:
    """Make output that is closed, or that nothing reads any more, go to /dev/null."""
    for descriptor in (STDOUT, STDERR):
        if not _is_read(descriptor):
            _open_null(descriptor)


class Output(io.RawIOBase):
    """Standard output or error, for the lines of this process.

    To write neither fails nor takes long, as this process has signals to hear: what
    a reader does not take in time is dropped.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        rest = memoryview(data)
        with contextlib.suppress(OSError), _time_limit(PATIENCE_S):
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        return len(data)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _is_read(descriptor: int) -> bool:
    """Whether what is written to a descriptor may get anywhere."""
    poll = select.poll()
    poll.register(descriptor, 0)  # Errors are always reported.
    return not any(event & _NOT_READ for _, event in poll.poll(0))


def _open_null(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, descriptor)
    if null > STDERR:
        os.close(null)


def _text(descriptor: int) -> io.TextIOWrapper:
    """Return a text stream whose every write is one system call."""
    raw: Any = Output(descriptor)
    return io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True)


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise :class:`TimeoutError` in a system call that takes longer.

    A descriptor cannot be made non-blocking for this process alone.
    """
    before = signal.signal(signal.SIGALRM, _raise_timeout)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.signal(signal.SIGALRM, before)


def _raise_timeout(_number: int, _frame: FrameType | None) -> NoReturn:
    raise TimeoutError
