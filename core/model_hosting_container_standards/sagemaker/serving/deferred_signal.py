"""A signal that is kept from whoever handles it, for as long as somebody needs."""

from __future__ import annotations

import os
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
        arrived: called in the event loop when the signal has come, once.
    """

    def __init__(self, number: signal.Signals, arrived: Callable[[], None]) -> None:
        self.number = number
        self._arrived = arrived
        self._has_arrived = False
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
        loop.add_reader(self._reader, self._read)
        self._wakeup = signal.set_wakeup_fd(
            self._writer.fileno(), warn_on_full_buffer=False
        )
        signal.signal(self.number, self._note)
        os.register_at_fork(after_in_child=self._forget)

    def remove(self) -> None:
        """Give the signal back to its handlers."""
        if self._loop is None:
            return
        self._loop.remove_reader(self._reader)
        self._loop = None
        # Whoever has put himself in our place since then, stays there.
        if signal.getsignal(self.number) == self._note:
            signal.signal(self.number, self._handler)
        found = _wake_up_by(self._wakeup)
        if found not in (-1, self._writer.fileno()):
            _wake_up_by(found)
        self._reader.close()
        self._writer.close()

    def deliver(self) -> None:
        """Let the handlers have the signal now, as if it had only come."""
        if self._loop is not None:
            self.remove()
            signal.raise_signal(self.number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal, also where somebody reads all numbers in our place."""
        if self._loop is not None:
            with suppress(BlockingIOError):
                self._writer.send(bytes([number]))
        elif callable(self._handler):
            # Who came after us has given back what he had found.
            self._handler(number, frame)
        else:
            signal.signal(number, self._handler)
            signal.raise_signal(number)

    def _forget(self) -> None:
        """In a forked child: what it is told is nothing to its parent."""
        if self._loop is not None and signal.getsignal(self.number) == self._note:
            signal.set_wakeup_fd(-1)
            signal.signal(self.number, self._handler)

    def _read(self) -> None:
        for number in self._reader.recv(4096):
            if number != self.number:
                _pass_on(self._wakeup, number)
            elif not self._has_arrived:
                self._has_arrived = True
                self._arrived()


def _wake_up_by(descriptor: int) -> int:
    """Set the wake-up descriptor, and return the one there was."""
    try:
        return signal.set_wakeup_fd(descriptor)
    except (OSError, ValueError):  # It was closed in the meantime.
        return signal.set_wakeup_fd(-1)


def _pass_on(descriptor: int, number: int) -> None:
    """Write a signal's number to what is a socket or a pipe, if it is anything."""
    if descriptor != -1:
        with suppress(OSError):
            os.write(descriptor, bytes([number]))
