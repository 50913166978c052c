"""The command ``standard-supervisor COMMAND...``: a server that is kept running.

What requirements.txt of the model folder asks for is installed first. The server is
restarted when it crashes. After ``PROCESS_MAX_START_RETRIES`` restarts in a row this
process ends with status 1, so that the container does. With
``PROCESS_AUTO_RECOVERY=false`` it becomes the command.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..config import Settings, read_settings
from . import signals
from .files import write_private

USAGE: Final = "usage: standard-supervisor COMMAND [ARGUMENT ...]"


def main() -> None:
    """Run the command of the command line."""
    # Before anything that takes its time: process 1 has no second chance to hear them.
    signals.hold()
    sys.exit(run(sys.argv[1:]))


def run(command: Sequence[str]) -> int | str:
    """Run a command; return the exit status of this process, or what is wrong."""
    from ..exceptions import ConfigurationError, RequirementsError
    from .child import Interrupted
    from .command import become
    from .requirements import install

    if not command or command[0] in ("-h", "--help"):
        (sys.stdout if command else sys.stderr).write(f"{USAGE}\n")
        return 0 if command else 2
    try:
        settings = read_settings()
        install(command, settings)
        if settings.auto_recovery and shutil.which(command[0]):
            return _supervise(command, settings)
    except (ConfigurationError, RequirementsError, OSError) as error:
        return f"standard-supervisor: {error}"
    except Interrupted as end:
        return end.status
    # What cannot be run is not tried again and again: this says what is wrong.
    signals.release()
    return become(command)


def _supervise(command: Sequence[str], settings: Settings) -> int:
    from .board import Board
    from .configuration import configure
    from .program import supervise

    with tempfile.TemporaryDirectory(prefix="mhcs-") as folder:
        pid_file = Path(folder, "supervisord.pid")
        text = configure(command, settings, os.environ, pid_file=pid_file)
        config = settings.supervisor_config or Path(folder, "supervisord.conf")
        write_private(config, text)
        board = Path(folder, "servers")
        board.mkdir(0o700)
        os.environ[Settings.board.name] = str(board)
        return supervise(config, Board(board), settings)
