"""The command ``standard-supervisor COMMAND...``: a server that is kept running.

What requirements.txt of the model folder asks for is installed first. The server is
restarted when it crashes. After ``PROCESS_MAX_START_RETRIES`` restarts in a row this
process ends with status 1, so that the container does. With
``PROCESS_AUTO_RECOVERY=false`` it becomes the command.
"""

import sys

from . import signals


def main() -> None:
    """Run the command of the command line."""
    # Before the imports, which take their time: the kernel throws away a signal that
    # process 1 does not listen for.
    signals.hold()
    from .launch import run

    sys.exit(run(sys.argv[1:]))
