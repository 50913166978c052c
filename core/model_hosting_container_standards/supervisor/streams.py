"""Make a container's standard output and error safe to use.

They may be a pipe or file of another user or a socket, which cannot be opened by path;
they may be closed, or a pipe without a reader.
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
#: Longest wait of a write for a slow reader, in seconds.
WRITE_TIMEOUT_S: Final = 0.2
_NO_READER: Final = select.POLLERR | select.POLLHUP | select.POLLNVAL


def prepare() -> None:
    """Open closed standard descriptors, and keep writes of this process from blocking.

    A closed descriptor would be reused by the next file or socket, and a child's output
    would go there.
    """
    if not _is_open(STDIN):
        _open_null(STDIN)
    replace_unread()
    sys.stdout, sys.stderr = _text(STDOUT), _text(STDERR)


def replace_unread() -> None:
    """Redirect output that is closed, or has no reader, to /dev/null."""
    for descriptor in (STDOUT, STDERR):
        if not _has_reader(descriptor):
            _open_null(descriptor)


class Output(io.RawIOBase):
    """Standard output or error, as a stream that neither fails nor blocks for long.

    This process must stay responsive to signals: data that a reader does not take
    within :data:`WRITE_TIMEOUT_S` is dropped.
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
        with contextlib.suppress(OSError), _time_limit(WRITE_TIMEOUT_S):
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        return len(data)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _has_reader(descriptor: int) -> bool:
    """Whether a descriptor is open and its other end is too."""
    poll = select.poll()
    poll.register(descriptor, 0)  # Errors are always reported.
    return not any(event & _NO_READER for _, event in poll.poll(0))


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

    O_NONBLOCK would affect every process that shares the open file.
    """
    previous = signal.signal(signal.SIGALRM, _raise_timeout)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.signal(signal.SIGALRM, previous)


def _raise_timeout(_number: int, _frame: FrameType | None) -> NoReturn:
    raise TimeoutError
