"""A command that is run as this container's: requirements first, then kept running."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..engines.registry import installed_engines
from ..exceptions import ConfigurationError, RequirementsError
from ..processes.heartbeat import HeartbeatDirectory
from ..settings import Settings, read_settings
from ..settings.service_links import is_service_link
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
    """Run a command; return the exit status of this process, or what is wrong.

    Its caller has held the signals.
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
    _say_ignored()
    _remove_service_links()
    warn_of_missing_shared_memory()
    install(command, settings)
    if settings.auto_recovery and shutil.which(command[0]):
        return _supervise(command, settings)
    if number := signals.kept():
        # The command could not take it: what begins as process 1 hears nothing yet.
        return 128 + number
    # What cannot be run is not tried again and again: this says what is wrong.
    signals.release()
    return exec_command(command)


def _say_ignored() -> None:
    if names := find_ignored(os.environ):
        sys.stderr.write(
            f"standard-supervisor: {', '.join(names)}: ignored, as no section of "
            "supervisord is named\n"
        )


def _remove_service_links() -> None:
    """Keep Kubernetes' links from engines, such as ``VLLM_PORT`` of a service "vllm".

    vLLM takes a link for its own variable, and ends.
    """
    commands = [engine.command for engine in installed_engines()]
    prefixes = tuple(c.engine_prefix for c in commands if c and c.engine_prefix)
    links = [
        name
        for name, value in sorted(os.environ.items())
        if name.startswith(prefixes) and is_service_link(name, value)
    ]
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
        board = Path(folder, "servers")
        board.mkdir(0o700)
        os.environ[Settings.heartbeat_dir.name] = str(board)
        return supervise(config, HeartbeatDirectory(board), settings)
