"""Graceful shutdown of vLLM's launcher of several API servers.

On SIGTERM, the launcher waits until all API servers have finished their requests; by
itself it would give them only a few seconds each. It serves no requests, so the signal
handling of ``bootstrap`` does not apply to it. Under ``standard-supervisor``, which
does the same for any command, nothing is patched.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, Final

from model_hosting_container_standards.engines import (
    LAST_WORD_S,
    HeartbeatDirectory,
    die_at,
)
from model_hosting_container_standards.settings import Settings, read_settings

_POLL_S: Final = 0.05
_FOLDER: Final = Settings.heartbeat_dir.name
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
#: Seconds that the launcher has to exit after its servers.
_EXIT_S: Final = 4.0


def with_heartbeats(
    wrapped: Callable[..., Any], _instance: Any, args: Any, kwargs: Any
) -> Any:
    """Start the API servers with a heartbeat directory, and watch it at shutdown."""
    if os.environ.get(_FOLDER):
        return wrapped(*args, **kwargs)
    with TemporaryDirectory(prefix="mhcs-") as folder:
        os.environ[_FOLDER] = folder
        handler = DrainSignalHandler(
            HeartbeatDirectory(Path(folder)), read_settings().drain_seconds
        )
        _handlers_to_install.append(handler)
        try:
            return wrapped(*args, **kwargs)
        finally:
            _handlers_to_install.remove(handler)
            del os.environ[_FOLDER]


def wait_gracefully(
    wrapped: Callable[..., Any], _instance: Any, args: Any, kwargs: Any
) -> Any:
    """Wait for the API servers with our signal handlers in front of the launcher's."""
    for handler in _handlers_to_install:
        handler.install()
    return wrapped(*args, **kwargs)


#: Handlers that :func:`with_heartbeats` created and :func:`wait_gracefully` installs.
_handlers_to_install: Final[list[DrainSignalHandler]] = []


class DrainSignalHandler:
    """A signal handler that drains all API servers before the original handler runs.

    A second SIGINT runs the original handler at once.

    Args:
        heartbeats: the directory in which the API servers are registered.
        drain_s: seconds that the servers may take.
    """

    def __init__(self, heartbeats: HeartbeatDirectory, drain_s: int) -> None:
        self._heartbeats = heartbeats
        self._drain_s = drain_s
        self._handlers: dict[int, Any] = {}
        self._waiting: threading.Thread | None = None
        self._is_done = False

    def install(self) -> None:
        self._handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            signal.signal(number, self)

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if self._is_done or (self._waiting is not None and number == signal.SIGINT):
            for each, handler in self._handlers.items():
                signal.signal(each, handler)
            signal.raise_signal(number)
        elif self._waiting is None:
            deadline = time.monotonic() + self._drain_s + LAST_WORD_S
            self._heartbeats.request_shutdown(deadline - LAST_WORD_S)
            die_at(deadline + _EXIT_S)
            self._waiting = threading.Thread(
                target=self._wait, args=(deadline, number), daemon=True
            )
            self._waiting.start()

    def _wait(self, deadline: float, number: int) -> None:
        while not self._heartbeats.is_empty() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        self._is_done = True
        # Send the signal again: Python runs handlers only in the main thread.
        os.kill(os.getpid(), number)
