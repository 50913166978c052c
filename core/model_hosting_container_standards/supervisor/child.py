"""Run a command to completion, with a deadline, and clean up its descendants."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from ..processes import tree
from .signals import BLOCKED

#: Seconds between SIGTERM and SIGKILL for what the command leaves running.
GRACE_S: Final = 2.0
_AWAITED: Final = (*BLOCKED, signal.SIGCHLD)


class Interrupted(Exception):
    """This process received a terminating signal; ``status`` is its exit status."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


def run_to_completion(command: Sequence[str], deadline: float, **options: Any) -> int:
    """Run a command and return its exit status, negative for a signal.

    Args:
        deadline: when to stop the command, in seconds of :func:`time.monotonic`.
        options: further arguments of :class:`subprocess.Popen`.

    Raises:
        Interrupted: this process received a terminating signal.
        TimeoutError: the deadline has passed.
        OSError: the command cannot be run.
    """
    existing = tree.children()
    with _signals_blocked(), tree.adopting_orphans():
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            preexec_fn=_unblock,  # noqa: PLW1509 - no threads run this early.
            **options,
        )
        try:
            return _wait(child, deadline)
        finally:
            # A build, or an interrupted command, may leave several processes.
            tree.end_children(existing, GRACE_S)
            child.poll()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block the signals that :func:`_wait` collects, so that none is lost."""
    # An ignored SIGCHLD, which may be inherited, is never delivered.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _wait(child: subprocess.Popen[bytes], deadline: float) -> int:
    while (status := child.poll()) is None:
        remaining = max(0.0, deadline - time.monotonic())
        received = signal.sigtimedwait(_AWAITED, remaining)
        if received is None:
            raise TimeoutError
        if received.si_signo != signal.SIGCHLD:
            raise Interrupted(received.si_signo)
    return status
