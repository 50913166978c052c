"""The command ``standard-supervisor COMMAND...``: run a server, restart it on crashes.

The model folder's requirements.txt is installed first. After
``PROCESS_MAX_START_RETRIES`` restarts in a row this process exits with status 1, and
the container with it. With ``PROCESS_AUTO_RECOVERY=false`` the command is executed
without supervision.
"""

import sys

from . import signals


def main() -> None:
    """Run the command in ``sys.argv``."""
    # Before the slow imports: the kernel drops signals that process 1 has no handler
    # for.
    signals.hold()
    from .launch import run

    sys.exit(run(sys.argv[1:]))
