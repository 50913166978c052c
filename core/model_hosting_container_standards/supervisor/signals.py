"""Signals that must reach somebody, whenever they come.

They are held before anything else happens, so that little is imported here.
"""

import os
import signal

#: What ends a command, or tells it something.
PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


def hold() -> None:
    """Keep signals that come before somebody can take them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)


def release() -> None:
    """Take them, and those that were kept."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)


def kept() -> int | None:
    """Return one that has come, and that nobody before us wants ignored."""
    for number in PASSED_ON:
        ignored = signal.getsignal(number) is signal.SIG_IGN
        if number in signal.sigpending() and not ignored:
            return number
    return None


def fork() -> int:
    """Fork as :func:`os.fork` does; the child dies of signals until it is a program.

    Its handlers are those of its parent, which would note a signal and forget it.
    """
    hold()
    try:
        pid = os.fork()
        if pid == 0:
            for number in PASSED_ON:
                signal.signal(number, signal.SIG_DFL)
    finally:
        release()
    return pid
