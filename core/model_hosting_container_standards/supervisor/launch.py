"""Run the container's command: install its requirements, then supervise it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..engines.registry import engine_commands, forget_engines, has_server
from ..exceptions import ConfigurationError, RequirementsError
from ..processes.heartbeat import HeartbeatDirectory
from ..settings import Settings, read_settings
from ..settings.service_links import find_service_links
from . import signals, streams
from .child import Interrupted
from .command_line import exec_command
from .configuration import configure
from .overrides import find_ignored
from .private_file import write_private
from .program import supervise
from .requirements import install
from .user_folders import (
    check_temporary_folder,
    provide_home,
    warn_of_missing_shared_memory,
)

USAGE: Final = "usage: standard-supervisor COMMAND [ARGUMENT ...]"


def run(command: Sequence[str]) -> int | str:
    """Run a command; return the exit status of this process, or an error message.

    The caller has blocked the signals with :func:`.signals.hold`.
    """
    streams.prepare()
    if not command or command[0] in ("-h", "--help"):
        (sys.stdout if command else sys.stderr).write(f"{USAGE}\n")
        return 0 if command else 2
    try:
        check_temporary_folder()
        with provide_home(os.environ):
            return _run(command, read_settings())
    except (ConfigurationError, RequirementsError, OSError) as error:
        return f"standard-supervisor: {error}"
    except Interrupted as end:
        return end.status


def _run(command: Sequence[str], settings: Settings) -> int:
    _warn_of_ignored_variables()
    _remove_service_links()
    warn_of_missing_shared_memory()
    install(command, settings)
    # It may have installed an engine.
    forget_engines()
    if settings.auto_recovery and shutil.which(command[0]):
        return _supervise(command, settings)
    if number := signals.pending():
        # As process 1 without a handler, the command would never see the signal.
        return 128 + number
    # A missing command gets here too: it fails at once, without retries.
    signals.release()
    return exec_command(command)


def _warn_of_ignored_variables() -> None:
    if names := find_ignored(os.environ):
        sys.stderr.write(
            f"standard-supervisor: {', '.join(names)}: ignored, as the name "
            "contains no section of supervisord\n"
        )


def _remove_service_links() -> None:
    """Remove Kubernetes' service links, such as ``VLLM_PORT`` for a service "vllm".

    vLLM would read the link as its own variable, and fail.
    """
    prefixes = (command.engine_prefix for _, command in engine_commands())
    links = find_service_links(os.environ, tuple(filter(None, prefixes)))
    for name in links:
        del os.environ[name]
    if links:
        sys.stderr.write(
            f"standard-supervisor: {', '.join(links)}: removed, as Kubernetes' links "
            "to services are not for the engine\n"
        )


def _supervise(command: Sequence[str], settings: Settings) -> int:
    with tempfile.TemporaryDirectory(prefix="mhcs-") as folder:
        pid_file = Path(folder, "supervisord.pid")
        text = configure(command, settings, os.environ, pid_file=pid_file)
        config = settings.supervisor_config or Path(folder, "supervisord.conf")
        write_private(config, text)
        heartbeats = Path(folder, "servers")
        heartbeats.mkdir(0o700)
        os.environ[Settings.heartbeat_dir.name] = str(heartbeats)
        return supervise(
            config,
            HeartbeatDirectory(heartbeats),
            settings,
            has_server=has_server(command),
        )
