"""A command that is run to its end, and leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from ..processes import tree as orphans
from .signals import PASSED_ON

#: What a command has to end by itself, in seconds, before it is ended.
GRACE_S: Final = 2.0
_AWAITED: Final = (*PASSED_ON, signal.SIGCHLD)


class Interrupted(Exception):
    """A signal came that ends this process; ``status`` is what it ends with."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


def run_to_completion(command: Sequence[str], deadline: float, **options: Any) -> int:
    """Run a command and return its status, negative for a signal.

    Args:
        deadline: when it must have ended, in seconds of :func:`time.monotonic`.
        options: further ones of :class:`subprocess.Popen`.

    Raises:
        Interrupted: this process is to end.
        TimeoutError: the deadline has passed.
        OSError: the command cannot be run.
    """
    spared = orphans.children()
    with _awaiting(), orphans.adopted():
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            preexec_fn=_unblock,  # noqa: PLW1509 - there are no threads this early.
            **options,
        )
        try:
            return _wait(child, deadline)
        finally:
            # Of a build, or by a signal, there may be more than the one process.
            orphans.end(spared, GRACE_S)
            child.poll()


@contextmanager
def _awaiting() -> Iterator[None]:
    """Keep signals for :func:`_wait`: no moment is too early, and no handler runs."""
    # Of a child's end nothing is heard where somebody has it ignored.
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
        left = max(0.0, deadline - time.monotonic())
        came = signal.sigtimedwait(_AWAITED, left)
        if came is None:
            raise TimeoutError
        if came.si_signo != signal.SIGCHLD:
            raise Interrupted(came.si_signo)
    return status
