"""supervisord's system calls and checks, adapted to a container."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from supervisor.options import ServerOptions

from ..exceptions import ConfigurationError
from ..processes import tree
from . import signals
from .inherited_output import INHERITING
from .overrides import PREFIX, PROGRAM
from .poller import SignalPoller


class Options(ServerOptions):  # type: ignore[misc]
    """supervisord's options, which also make its system calls."""

    #: Exit status of the child reaped last, negative for a signal; None until the
    #: child that was forked last has been reaped.
    returncode: int | None = None
    #: Until when programs and their descendants may end by themselves, by
    #: ``time.monotonic``; None before the shutdown.
    deadline: float | None = None

    def __init__(self) -> None:
        super().__init__()
        self.poller = SignalPoller(self)

    def processes_from_section(
        self, parser: Any, section: str, group_name: str, klass: Any
    ) -> list[Any]:
        """Mark the processes of our program; name and group can be configured."""
        configs: list[Any] = super().processes_from_section(
            parser, section, group_name, INHERITING[klass]
        )
        for config in configs:
            config.is_program = section == f"program:{PROGRAM}"
            config.section = section
        return configs

    def check_programs(self) -> None:
        """Check the programs before any is started.

        Raises:
            ConfigurationError: our program would not be started, or a log file is not
                writable.
        """
        groups = self.process_group_configs
        configs = [config for group in groups for config in group.process_configs]
        for config in configs:
            for key in ("stdout_logfile", "stderr_logfile"):
                _check_log_file(config.section, key, getattr(config, key))
        programs = [config for config in configs if config.is_program]
        if not any(config.autostart for config in programs):
            key = "AUTOSTART" if programs else "NUMPROCS"
            name = f"{PREFIX}PROGRAM__{PROGRAM.upper()}_{key}"
            reason = "a container without its server would stay up"
            raise ConfigurationError(name, os.environ.get(name, ""), reason)

    def set_uid_or_exit(self) -> None:
        # Without a configured user supervisord warns about running as root.
        if self.uid is not None:
            super().set_uid_or_exit()

    def write_pidfile(self) -> None:
        previous = os.umask(0o077)
        try:
            super().write_pidfile()
        finally:
            os.umask(previous)

    def setsignals(self) -> None:
        super().setsignals()
        signal.signal(signal.SIGUSR1, self.signal_receiver.receive)
        signals.release()

    def fork(self) -> int:
        self.returncode = None
        return signals.fork()

    def waitpid(self) -> tuple[int | None, int | None]:
        pid, status = super().waitpid()
        if pid in self.pidhistory:
            self.returncode = os.waitstatus_to_exitcode(status)
            now = time.monotonic()
            grace = 0.0 if self.deadline is None else self.deadline - now
            tree.end_children(self.pidhistory, max(0.0, grace))
        return pid, status


def _check_log_file(section: str, key: str, file: Any) -> None:
    if not isinstance(file, str):
        return
    path = Path(file)
    existing = path if os.access(path, os.F_OK) else path.parent
    if not os.access(existing, os.W_OK):
        name = f"{PREFIX}{section.replace(':', '__')}_{key}".upper()
        raise ConfigurationError(name, file, "this user cannot write it")
