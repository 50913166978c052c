"""Signals whose handlers run only when we let them."""

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

#: Flag beside a signal's number: our handler wrote it, not the interpreter.
_HANDLED: Final = 0x80
#: Packages of servers and event loops, whose handlers shut a server down.
_SERVERS: Final = frozenset({"asyncio", "hypercorn", "uvicorn", "uvloop"})
#: Handlers that are not replaced.
_KEPT_HANDLERS: Final = (None, signal.SIG_IGN, signal.default_int_handler)


class DeferredSignals:
    """Reports signals at once, but runs their handlers only on :meth:`deliver`.

    A process has two kinds of handlers: Python's, and those of an event loop, which
    reads the numbers of all signals from the wake-up descriptor. Both are replaced.
    Signals belong to the main thread: elsewhere :meth:`install` does nothing.

    Args:
        numbers: the signals; one that is ignored, or has Python's default handler, is
            left alone.
        on_signal: called in the event loop for each signal.
    """

    def __init__(
        self,
        numbers: Collection[signal.Signals],
        on_signal: Callable[[signal.Signals], None],
    ) -> None:
        self._numbers = numbers
        self._on_signal = on_signal
        self._loop: AbstractEventLoop | None = None
        self._handlers: dict[int, Any] = {}
        self._wakeup = -1

    def install(self, loop: AbstractEventLoop) -> None:
        if self._loop is not None:
            return  # The app's lifespan was entered twice.
        if threading.current_thread() is not threading.main_thread():
            return
        current = {number: signal.getsignal(number) for number in self._numbers}
        self._handlers = {
            number: handler
            for number, handler in current.items()
            if handler not in _KEPT_HANDLERS
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
        os.register_at_fork(after_in_child=self._restore_in_child)

    def ends_server(self, number: signal.Signals) -> bool:
        """Whether the signal's handler belongs to a server or its event loop.

        With another handler, as a test runner's, the process goes on after the server.
        """
        handler = self._handlers.get(number)
        owner = getattr(handler, "__self__", None)
        if isinstance(owner, DeferredSignals):  # Of another app in this process.
            return owner.ends_server(number)
        module = getattr(handler, "__module__", None) or ""
        return self._loop is not None and module.partition(".")[0] in _SERVERS

    def remove(self) -> None:
        """Restore the original handlers."""
        if self._loop is None:
            return
        self._loop.remove_reader(self._reader)
        self._loop = None
        for number, handler in self._handlers.items():
            # Leave a handler that was installed after ours.
            if signal.getsignal(number) == self._note:
                signal.signal(number, handler)
        replaced = _set_wakeup_fd(self._wakeup)
        if replaced not in (-1, self._writer.fileno()):
            _set_wakeup_fd(replaced)
        self._reader.close()
        self._writer.close()

    def deliver(self, number: signal.Signals) -> None:
        """Restore the handlers and raise the signal again."""
        if self._loop is not None:
            self.remove()
            signal.raise_signal(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: write its number to the socket that the loop reads.

        Another library may have replaced the wake-up descriptor, so that the
        interpreter's own number does not arrive there.
        """
        if self._loop is not None:
            with suppress(BlockingIOError):
                self._writer.send(bytes([_HANDLED | number]))
        elif callable(handler := self._handlers[number]):
            # A handler that was installed after ours has restored ours too late.
            handler(number, frame)
        else:
            signal.signal(number, handler)
            signal.raise_signal(number)

    def _restore_in_child(self) -> None:
        """Restore the handlers in a forked child: its signals must not end the parent.

        The child shares the socket.
        """
        if self._loop is None:
            return
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == self._note:
                signal.set_wakeup_fd(-1)
                signal.signal(number, handler)

    def _read(self) -> None:
        for number in self._reader.recv(4096):
            if number & _HANDLED:
                self._on_signal(signal.Signals(number - _HANDLED))
            elif number not in self._handlers:
                _forward(self._wakeup, number)


def _set_wakeup_fd(descriptor: int) -> int:
    """Set the wake-up descriptor and return the previous one."""
    try:
        return signal.set_wakeup_fd(descriptor)
    except (OSError, ValueError):  # The descriptor has been closed.
        return signal.set_wakeup_fd(-1)


def _forward(descriptor: int, number: int) -> None:
    """Write a signal's number to the original wake-up descriptor, if there is one."""
    if descriptor != -1:
        with suppress(OSError):
            os.write(descriptor, bytes([number]))
