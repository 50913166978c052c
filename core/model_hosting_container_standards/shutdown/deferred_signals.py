"""Signals that are kept from whoever handles them, for as long as somebody needs."""

from __future__ import annotations

import os
import signal
import socket
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Collection
from contextlib import suppress
from types import FrameType
from typing import Any, Final

#: Beside the number of a signal: our handler has had it, and not just the system.
_HANDLED: Final = 0x80
#: Packages of servers and event loops, whose handlers end a server.
_SERVERS: Final = frozenset({"asyncio", "hypercorn", "uvicorn", "uvloop"})
_LEFT_ALONE: Final = (None, signal.SIG_IGN, signal.default_int_handler)


class DeferredSignals:
    """Tells us of signals, and their handlers only when :meth:`deliver` is called.

    A process has two kinds of handlers: Python's, and those of an event loop, which
    reads the numbers of all signals from the wake-up descriptor. Both are put aside.
    Works in the main thread alone, as signals do; elsewhere :meth:`install` does
    nothing.

    Args:
        numbers: which ones; those that are ignored, or interrupt Python, are left as
            they are.
        arrived: called in the event loop each time that one has come.
    """

    def __init__(
        self,
        numbers: Collection[signal.Signals],
        arrived: Callable[[signal.Signals], None],
    ) -> None:
        self._numbers = numbers
        self._arrived = arrived
        self._loop: AbstractEventLoop | None = None
        self._handlers: dict[int, Any] = {}
        self._wakeup = -1

    def install(self, loop: AbstractEventLoop) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        found = {number: signal.getsignal(number) for number in self._numbers}
        self._handlers = {
            number: handler
            for number, handler in found.items()
            if handler not in _LEFT_ALONE
        }
        if not self._handlers:
            return
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.setblocking(False)
        self._loop = loop
        loop.add_reader(self._reader, self._read)
        self._wakeup = signal.set_wakeup_fd(
            self._writer.fileno(), warn_on_full_buffer=False
        )
        for number in self._handlers:
            signal.signal(number, self._note)
        os.register_at_fork(after_in_child=self._forget)

    def ends_server(self, number: signal.Signals) -> bool:
        """Whether a server, or its event loop, handles a signal.

        Other handlers, such as a test runner's, belong to a process that goes on.
        """
        handler = self._handlers.get(number)
        owner = getattr(handler, "__self__", None)
        if isinstance(owner, DeferredSignals):  # Another app of this process.
            return owner.ends_server(number)
        module = getattr(handler, "__module__", None) or ""
        return self._loop is not None and module.partition(".")[0] in _SERVERS

    def remove(self) -> None:
        """Give the signals back to their handlers."""
        if self._loop is None:
            return
        self._loop.remove_reader(self._reader)
        self._loop = None
        for number, handler in self._handlers.items():
            # Whoever has put himself in our place since then, stays there.
            if signal.getsignal(number) == self._note:
                signal.signal(number, handler)
        found = _wake_up_by(self._wakeup)
        if found not in (-1, self._writer.fileno()):
            _wake_up_by(found)
        self._reader.close()
        self._writer.close()

    def deliver(self, number: signal.Signals) -> None:
        """Let the handlers have a signal now, as if it had only come."""
        if self._loop is not None:
            self.remove()
            signal.raise_signal(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: in the loop, also where somebody reads the numbers there."""
        if self._loop is not None:
            with suppress(BlockingIOError):
                self._writer.send(bytes([_HANDLED | number]))
        elif callable(handler := self._handlers[number]):
            # Who came after us has given back what he had found.
            handler(number, frame)
        else:
            signal.signal(number, handler)
            signal.raise_signal(number)

    def _forget(self) -> None:
        """In a forked child: what it is told is nothing to its parent."""
        if self._loop is None:
            return
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == self._note:
                signal.set_wakeup_fd(-1)
                signal.signal(number, handler)

    def _read(self) -> None:
        for number in self._reader.recv(4096):
            if number & _HANDLED:
                self._arrived(signal.Signals(number - _HANDLED))
            elif number not in self._handlers:
                _pass_on(self._wakeup, number)


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
