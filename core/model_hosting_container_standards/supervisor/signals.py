"""Block signals until a handler for them is installed, so that none is lost.

Signals are blocked before any other import: this module imports as little as possible.
"""

import os
import signal

#: Signals that terminate a server, or that it may handle.
BLOCKED = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


def hold() -> None:
    """Block the signals; those that arrive stay pending."""
    signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)


def release() -> None:
    """Unblock the signals; pending ones are delivered."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)


def pending() -> int | None:
    """Return a pending signal that is not ignored, as after ``nohup``."""
    for number in BLOCKED:
        ignored = signal.getsignal(number) is signal.SIG_IGN
        if number in signal.sigpending() and not ignored:
            return number
    return None


def fork() -> int:
    """Fork as :func:`os.fork` does, with default signal handlers in the child.

    With the parent's handlers, a signal before the child's exec would be lost.
    """
    hold()
    try:
        pid = os.fork()
        if pid == 0:
            for number in BLOCKED:
                signal.signal(number, signal.SIG_DFL)
    finally:
        release()
    return pid
