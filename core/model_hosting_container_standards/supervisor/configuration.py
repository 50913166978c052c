"""supervisord's configuration: the contract's, and what the environment adds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ..config import Settings
from ..engine import starts_engine
from ..engine_command import USAGE_ERROR
from ..exceptions import ConfigurationError
from .command import command_line
from .keys import KEYS

PROGRAM: Final = "app"
PREFIX: Final = "SUPERVISOR_"
#: What begins as an addition does, and is none: ours, and supervisord's own.
_OTHERS: Final = frozenset(
    {
        Settings.supervisor_config.name,
        "SUPERVISOR_ENABLED",
        "SUPERVISOR_GROUP_NAME",
        "SUPERVISOR_PROCESS_NAME",
        "SUPERVISOR_SERVER_URL",
    }
)
#: A server has done well for this long, in seconds: more than SageMaker gives it to
#: start. One that crashes earlier, time and again, is given up.
HEALTHY_S: Final = 600
#: What SageMaker gives a container to end.
STOP_S: Final = 30

#: supervisord's sections; those that end in a colon have names of their own behind it.
_SERVERS: Final = frozenset({"inet_http_server", "unix_http_server"})
_KINDS: Final = ("program:", "eventlistener:", "fcgi-program:", "group:")
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
        ConfigurationError: a ``SUPERVISOR_...`` variable names no key of supervisord.
    """
    sections = _sections(command, settings, pid_file, program)
    sections[f"program:{program}"]["startsecs"] = str(healthy_s)
    for section, key, value in _additions(environ):
        sections.setdefault(section, {})[key] = value
    if sections.keys() & _SERVERS:
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
    if os.geteuid() == 0:
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


def _additions(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return section, key and value of each ``SUPERVISOR_{SECTION}_{KEY}``."""
    return [
        (*_split(name, value), value)
        for name, value in sorted(environ.items())
        if name.startswith(PREFIX) and name not in _OTHERS and value.strip()
    ]


def _split(name: str, value: str) -> tuple[str, str]:
    """Return the section and the key: both may have ``_`` in them, so keys are known.

    Raises:
        ConfigurationError: supervisord has no such key, or could not read the value.
    """
    rest = name.removeprefix(PREFIX).lower()
    if "\n" in value:
        raise ConfigurationError(name, value, "supervisord takes one line")
    # The longest key that fits: `logfile` is the end of `stdout_logfile`.
    for key in sorted(KEYS, key=len, reverse=True):
        section = rest.removesuffix(f"_{key}").replace("__", ":")
        if section != rest.replace("__", ":") and _is_section(section):
            return section, key
    raise ConfigurationError(
        name,
        value,
        "write a section and a key of supervisord, as in "
        f"{PREFIX}PROGRAM__{PROGRAM.upper()}_STOPWAITSECS",
    )


def _is_section(name: str) -> bool:
    kind, colon, own = name.partition(":")
    if own:
        return kind + colon in _KINDS
    return name == "supervisord" or name in _SERVERS


def _lines(sections: Sections) -> list[str]:
    lines = []
    for section, keys in sections.items():
        lines += [f"[{section}]", *(f"{key} = {keys[key]}" for key in keys), ""]
    return lines
