"""supervisord's configuration: the contract's, and what the environment adds."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ..engines.command import USAGE_ERROR
from ..engines.registry import starts_engine
from ..settings import Settings
from .command_line import command_line
from .overrides import PROGRAM, SERVERS, find_additions

#: A server has done well for this long, in seconds: more than SageMaker gives it to
#: start. One that crashes earlier, time and again, is given up.
HEALTHY_S: Final = 600
#: What SageMaker gives a container to end.
STOP_S: Final = 30

_RPC_INTERFACE: Final = {
    "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
}

Sections = dict[str, dict[str, str]]


def configure(
    command: Sequence[str],
    settings: Settings,
    environ: Mapping[str, str],
    *,
    pid_file: Path,
    program: str = PROGRAM,
    healthy_s: int = HEALTHY_S,
) -> str:
    """Return the text of the configuration by which supervisord runs ``command``.

    Raises:
        ConfigurationError: a ``SUPERVISOR_...`` variable is wrong.
    """
    sections = _sections(command, settings, pid_file, program)
    sections[f"program:{program}"]["startsecs"] = str(healthy_s)
    for section, key, value in find_additions(environ):
        sections.setdefault(section, {})[key] = value
    if sections.keys() & SERVERS:
        # What supervisorctl talks to.
        sections.setdefault("rpcinterface:supervisor", _RPC_INTERFACE)
    return "\n".join(_lines(sections))


def _sections(
    command: Sequence[str], settings: Settings, pid_file: Path, program: str
) -> Sections:
    supervisord = {
        "nodaemon": "true",
        "loglevel": "info",
        "logfile": "/dev/null",
        "logfile_maxbytes": "0",
        "pidfile": str(pid_file).replace("%", "%%"),
    }
    if os.geteuid() == 0 and _is_known(0):
        # Or it warns of what is the rule in a container.
        supervisord["user"] = "root"
    return {
        "supervisord": supervisord,
        f"program:{program}": {
            "command": command_line(command),
            "autostart": "true",
            "autorestart": "unexpected" if settings.auto_recovery else "false",
            "exitcodes": _expected_statuses(command),
            "startretries": str(settings.max_start_retries),
            "stopsignal": "TERM",
            "stopwaitsecs": str(STOP_S),
            # Its workers are its own to end; who outlives it is ended after it.
            "stopasgroup": "false",
            "killasgroup": "true",
            "stdout_logfile": "/dev/stdout",
            "stdout_logfile_maxbytes": "0",
            "stderr_logfile": "/dev/stderr",
            "stderr_logfile_maxbytes": "0",
        },
    }


def _expected_statuses(command: Sequence[str]) -> str:
    """Return the statuses after which a command is not started again.

    An engine whose parser refuses its arguments would refuse them again.
    """
    return f"0,{USAGE_ERROR}" if starts_engine(command) else "0"


def _is_known(uid: int) -> bool:
    """Whether a user has an entry, which supervisord wants to see."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _lines(sections: Sections) -> list[str]:
    lines = []
    for section, keys in sections.items():
        lines += [f"[{section}]", *(f"{key} = {keys[key]}" for key in keys), ""]
    return lines
