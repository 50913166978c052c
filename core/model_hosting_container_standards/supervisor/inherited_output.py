"""Let programs inherit the container's standard output and error.

supervisord opens a log file by its path, which can fail for /dev/stdout, and copies the
program's output there. A program whose log file is the container's output inherits the
descriptor instead, unless supervisord has to read what the program writes.
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
    """Return the descriptor for a log file path like /dev/stdout; None for others."""
    for descriptor, pattern in _STANDARD.items():
        if isinstance(path, str) and pattern.fullmatch(path):
            return descriptor
    return None


class InheritingConfig(ProcessConfig):  # type: ignore[misc]
    """A supervisord program that can inherit the container's descriptors."""

    def __init__(self, options: Any, **keys: Any) -> None:
        super().__init__(options, **keys)
        self._inherited: dict[str, int] = {}
        for channel in ("stdout", "stderr"):
            key = f"{channel}_logfile"
            if (descriptor := descriptor_of(keys[key])) is not None:
                self._inherited[channel] = descriptor
                # supervisorctl cannot read it either, as it is not a file.
                setattr(self, key, None)

    def make_dispatchers(self, process: Any) -> tuple[dict[int, Any], dict[str, Any]]:
        streams.replace_unread()
        dispatchers, pipes = super().make_dispatchers(process)
        for channel, descriptor in self._inherited.items():
            if pipes[channel] is None:
                continue  # redirect_stderr: it follows standard output.
            if self.is_read(channel):
                self._copy(dispatchers[pipes[channel]], descriptor)
            else:
                del dispatchers[pipes[channel]]
                _replace(pipes, channel, descriptor)
        return dispatchers, pipes

    def is_read(self, channel: str) -> bool:
        """Whether supervisord has to read the program's output itself."""
        keys = ("capture_maxbytes", "events_enabled", "syslog")
        return self.options.strip_ansi or any(
            getattr(self, f"{channel}_{key}") for key in keys
        )

    def _copy(self, dispatcher: Any, descriptor: int) -> None:
        log = dispatcher.childlog or self.options.getLogger()
        log.addHandler(StreamHandler(streams.Output(descriptor)))
        dispatcher.normallog = dispatcher.childlog = log


class InheritingListenerConfig(InheritingConfig, EventListenerConfig):  # type: ignore[misc]
    """An event listener; supervisord reads its standard output."""

    def is_read(self, channel: str) -> bool:
        return channel == "stdout" or super().is_read(channel)


class InheritingFastCGIConfig(InheritingConfig, FastCGIProcessConfig):  # type: ignore[misc]
    """A FastCGI program that can inherit the container's descriptors."""


INHERITING: Final = {
    ProcessConfig: InheritingConfig,
    EventListenerConfig: InheritingListenerConfig,
    FastCGIProcessConfig: InheritingFastCGIConfig,
}


def _replace(pipes: dict[str, Any], channel: str, descriptor: int) -> None:
    """Replace a pipe by a duplicate of a descriptor."""
    child = f"child_{channel}"
    os.close(pipes[channel])
    os.close(pipes[child])
    pipes[channel] = None
    # supervisord closes the duplicate after the fork.
    pipes[child] = os.dup(descriptor)
