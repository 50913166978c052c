"""supervisord's configuration: our defaults, and the additions of the environment."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from ..engines.command import USAGE_ERROR
from ..engines.registry import engine_of_command, has_server
from ..settings import Settings
from .command_line import command_line, comment_on
from .overrides import PROGRAM, SERVERS, find_additions

#: Seconds after which a server counts as started (``startsecs``). Longer than
#: SageMaker's start-up limit: crashes before it are failed starts.
HEALTHY_S: Final = 600
#: Seconds that SageMaker gives a container to stop.
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
    """Return the configuration text with which supervisord runs ``command``.

    Raises:
        ConfigurationError: a ``SUPERVISOR_...`` variable is invalid.
    """
    sections = _sections(command, settings, pid_file, program)
    sections[f"program:{program}"]["startsecs"] = str(healthy_s)
    for section, key, value in find_additions(environ):
        sections.setdefault(section, {})[key] = value
    if sections.keys() & SERVERS:
        # supervisorctl needs it.
        sections.setdefault("rpcinterface:supervisor", _RPC_INTERFACE)
    return "\n".join(_lines(sections, {command_line(command): comment_on(command)}))


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
    if os.geteuid() == 0 and _has_passwd_entry(0):
        # Without it supervisord warns about running as root.
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
            # The server stops its own workers; survivors are killed afterwards.
            "stopasgroup": "false",
            "killasgroup": "true",
            "stdout_logfile": "/dev/stdout",
            "stdout_logfile_maxbytes": "0",
            "stderr_logfile": "/dev/stderr",
            "stderr_logfile_maxbytes": "0",
        },
    }


def _expected_statuses(command: Sequence[str]) -> str:
    """Return the exit statuses after which a command is not restarted.

    An engine that exits with a usage error would do so again. One without a server has
    not finished when it exits by itself: vLLM does so with 0 when its engine has died.
    """
    if engine_of_command(command) is None:
        return "0"
    return f"0,{USAGE_ERROR}" if has_server(command) else f"{USAGE_ERROR}"


def _has_passwd_entry(uid: int) -> bool:
    """Whether the user database has the user; supervisord fails on unknown ones."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _lines(sections: Sections, comments: Mapping[str, str | None]) -> Iterator[str]:
    """Yield the lines of the sections, with comments above the values they are on."""
    for section, keys in sections.items():
        yield f"[{section}]"
        for key, value in keys.items():
            if comment := comments.get(value):
                yield comment
            yield f"{key} = {value}"
        yield ""
