"""The launcher of several API servers: told to end, it lets all of them finish first.

It would give them a few seconds each, and answers nothing itself, so that nobody else
is there to hear of signals. Under ``standard-supervisor``, which does the same for any
command, there is nothing to do.
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
_NUMBERS: Final = (signal.SIGTERM, signal.SIGINT)
#: How long the launcher has to end after its servers, in seconds.
_END_S: Final = 4.0


def with_board(
    wrapped: Callable[..., Any], _instance: Any, args: Any, kwargs: Any
) -> Any:
    """Give the API servers a place where they say that they have finished."""
    if os.environ.get(_FOLDER):
        return wrapped(*args, **kwargs)
    with TemporaryDirectory(prefix="mhcs-") as folder:
        os.environ[_FOLDER] = folder
        finish = Finish(HeartbeatDirectory(Path(folder)), read_settings().drain_seconds)
        _finishes.append(finish)
        try:
            return wrapped(*args, **kwargs)
        finally:
            _finishes.remove(finish)
            del os.environ[_FOLDER]


def finishing(
    wrapped: Callable[..., Any], _instance: Any, args: Any, kwargs: Any
) -> Any:
    """Wait for the API servers, with our handler of SIGTERM before the launcher's."""
    for finish in _finishes:
        finish.install()
    return wrapped(*args, **kwargs)


#: What :func:`with_board` has made, for :func:`finishing` to find.
_finishes: Final[list[Finish]] = []


class Finish:
    """A handler of signals that has all servers finish before another one hears of it.

    A second SIGINT is heard of at once: somebody is in a hurry.

    Args:
        seconds: how long they may take.
    """

    def __init__(self, board: HeartbeatDirectory, seconds: int) -> None:
        self._board = board
        self._seconds = seconds
        self._handlers: dict[int, Any] = {}
        self._waiting: threading.Thread | None = None
        self._is_done = False

    def install(self) -> None:
        self._handlers = {number: signal.getsignal(number) for number in _NUMBERS}
        for number in _NUMBERS:
            signal.signal(number, self)

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        if self._is_done or (self._waiting is not None and number == signal.SIGINT):
            for each, handler in self._handlers.items():
                signal.signal(each, handler)
            signal.raise_signal(number)
        elif self._waiting is None:
            deadline = time.monotonic() + self._seconds + LAST_WORD_S
            self._board.request_shutdown(deadline - LAST_WORD_S)
            die_at(deadline + _END_S)
            self._waiting = threading.Thread(
                target=self._wait, args=(deadline, number), daemon=True
            )
            self._waiting.start()

    def _wait(self, deadline: float, number: int) -> None:
        while not self._board.is_empty() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        self._is_done = True
        # Handlers run in the main thread alone.
        os.kill(os.getpid(), number)
