"""Processes that write to the container's own standard output and error.

supervisord would open these by their path, which is not always possible, and copy
there whatever a process writes. A process whose log file is one of them has the
descriptor itself instead, unless supervisord is to look at what it writes.
"""

from __future__ import annotations

import os
import re
from typing import Any, Final

from supervisor.loggers import StreamHandler
from supervisor.options import EventListenerConfig, FastCGIProcessConfig, ProcessConfig

from . import streams

_STANDARD: Final = {
    streams.STDOUT: re.compile(r"/dev/stdout|/(dev|proc/self)/fd/1"),
    streams.STDERR: re.compile(r"/dev/stderr|/(dev|proc/self)/fd/2"),
}


def descriptor_of(path: Any) -> int | None:
    """Return the descriptor that a log file is, if it is one of the container's."""
    for descriptor, pattern in _STANDARD.items():
        if isinstance(path, str) and pattern.fullmatch(path):
            return descriptor
    return None


class InheritingConfig(ProcessConfig):  # type: ignore[misc]
    """A program of supervisord's that may have the container's own descriptors."""

    def __init__(self, options: Any, **keys: Any) -> None:
        super().__init__(options, **keys)
        self._inherited: dict[str, int] = {}
        for channel in ("stdout", "stderr"):
            key = f"{channel}_logfile"
            if (descriptor := descriptor_of(keys[key])) is not None:
                self._inherited[channel] = descriptor
                # Nor can supervisorctl read what is no file.
                setattr(self, key, None)

    def make_dispatchers(self, process: Any) -> tuple[dict[int, Any], dict[str, Any]]:
        streams.replace_unread()
        dispatchers, pipes = super().make_dispatchers(process)
        for channel, descriptor in self._inherited.items():
            if pipes[channel] is None:
                continue  # redirect_stderr: it goes where standard output does.
            if self.is_read(channel):
                self._copy(dispatchers[pipes[channel]], descriptor)
            else:
                del dispatchers[pipes[channel]]
                _replace(pipes, channel, descriptor)
        return dispatchers, pipes

    def is_read(self, channel: str) -> bool:
        """Whether supervisord has to read what a process writes."""
        keys = ("capture_maxbytes", "events_enabled", "syslog")
        return self.options.strip_ansi or any(
            getattr(self, f"{channel}_{key}") for key in keys
        )

    def _copy(self, dispatcher: Any, descriptor: int) -> None:
        log = dispatcher.childlog or self.options.getLogger()
        log.addHandler(StreamHandler(streams.Output(descriptor)))
        dispatcher.normallog = dispatcher.childlog = log


class InheritingListenerConfig(InheritingConfig, EventListenerConfig):  # type: ignore[misc]
    """The same of an event listener, whose standard output answers supervisord."""

    def is_read(self, channel: str) -> bool:
        return channel == "stdout" or super().is_read(channel)


class InheritingFastCGIConfig(InheritingConfig, FastCGIProcessConfig):  # type: ignore[misc]
    """The same of a FastCGI program."""


INHERITING: Final = {
    ProcessConfig: InheritingConfig,
    EventListenerConfig: InheritingListenerConfig,
    FastCGIProcessConfig: InheritingFastCGIConfig,
}


def _replace(pipes: dict[str, Any], channel: str, descriptor: int) -> None:
    """Put a descriptor in the place of a pipe."""
    child = f"child_{channel}"
    os.close(pipes[channel])
    os.close(pipes[child])
    pipes[channel] = None
    # supervisord closes it once the process has it.
    pipes[child] = os.dup(descriptor)
