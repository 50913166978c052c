"""supervisord's wait for what its children write, which signals end too."""

from __future__ import annotations

import os
import signal
from typing import Any, Final

from supervisor.poller import Poller

_READ_BYTES: Final = 4096


class SignalPoller(Poller):  # type: ignore[misc]
    """A wait that ends when a signal comes, and not when supervisord's second is over.

    It once relied on the system for that; Python goes on waiting since 3.5.
    """

    #: supervisord never asks for more than a second.
    longest_s = 1.0

    def initialize(self) -> None:
        super().initialize()
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self.register_readable(self._reader)

    def poll(self, timeout: float) -> tuple[list[int], list[int]]:
        found: tuple[Any, Any] = super().poll(min(timeout, self.longest_s))
        readable, writable = found
        if self._reader in readable:
            # supervisord does not know of it, and would no longer listen there.
            readable.remove(self._reader)
            os.read(self._reader, _READ_BYTES)
        return readable, writable

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        os.close(self._reader)
        os.close(self._writer)
        super().close()
