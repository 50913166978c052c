"""A signal that is kept from whoever handles it, for as long as somebody needs."""

from __future__ import annotations

import signal
import socket
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any


class DeferredSignal:
    """Tells us of a signal, and its handlers only when :meth:`deliver` is called.

    A process has two kinds of handlers: Python's, and those of an event loop, which
    reads the numbers of all signals from the wake-up descriptor. Both are put aside.
    Works in the main thread alone, as signals do; elsewhere :meth:`install` does
    nothing.

    Args:
        arrived: called in the event loop when the signal comes.
    """

    def __init__(self, number: signal.Signals, arrived: Callable[[], None]) -> None:
        self.number = number
        self._arrived = arrived
        self._loop: AbstractEventLoop | None = None
        self._handler: Any = None
        self._wakeup = -1

    def install(self, loop: AbstractEventLoop) -> None:
        handler = signal.getsignal(self.number)
        if threading.current_thread() is not threading.main_thread() or handler is None:
            return
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.setblocking(False)
        self._loop, self._handler = loop, handler
        signal.signal(self.number, _leave_it_to_the_loop)
        self._wakeup = signal.set_wakeup_fd(
            self._writer.fileno(), warn_on_full_buffer=False
        )
        loop.add_reader(self._reader, self._read)

    def remove(self) -> None:
        """Give the signal back to its handlers."""
        if self._loop is None:
            return
        self._loop.remove_reader(self._reader)
        self._loop = None
        # Whoever has put himself in our place since then, stays there.
        if signal.getsignal(self.number) is _leave_it_to_the_loop:
            signal.signal(self.number, self._handler)
        found = signal.set_wakeup_fd(self._wakeup)
        if found not in (-1, self._writer.fileno()):
            signal.set_wakeup_fd(found)
        self._reader.close()
        self._writer.close()

    def deliver(self) -> None:
        """Let the handlers have the signal now, as if it had only come."""
        self.remove()
        signal.raise_signal(self.number)

    def _read(self) -> None:
        for number in self._reader.recv(4096):
            if number == self.number:
                self._arrived()
            elif self._wakeup != -1:
                _pass_on(self._wakeup, number)


def _pass_on(descriptor: int, number: int) -> None:
    """Write a signal's number to what is a socket or a pipe."""
    with suppress(BlockingIOError), open(descriptor, "wb", 0, closefd=False) as end:
        end.write(bytes([number]))


def _leave_it_to_the_loop(_number: int, _frame: FrameType | None) -> None:
    pass
