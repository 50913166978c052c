"""supervisord's poller, made to return as soon as a signal arrives."""

from __future__ import annotations

import os
import signal
from typing import Any, Final

from supervisor.poller import Poller

_READ_BYTES: Final = 4096


class SignalPoller(Poller):  # type: ignore[misc]
    """A poller that a signal interrupts, instead of after supervisord's one second.

    supervisord relies on EINTR, but Python retries interrupted calls (PEP 475).
    """

    #: Upper bound of a wait, in seconds; supervisord itself waits for one second.
    longest_s = 1.0

    def initialize(self) -> None:
        super().initialize()
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self.register_readable(self._reader)
        # supervisord polls before it starts its programs: the first poll must not wait.
        os.write(self._writer, b"\0")

    def poll(self, timeout: float) -> tuple[list[int], list[int]]:
        ready: tuple[Any, Any] = super().poll(min(timeout, self.longest_s))
        readable, writable = ready
        if self._reader in readable:
            # supervisord would unregister a descriptor that it does not know.
            readable.remove(self._reader)
            os.read(self._reader, _READ_BYTES)
        return readable, writable

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        os.close(self._reader)
        os.close(self._writer)
        super().close()
