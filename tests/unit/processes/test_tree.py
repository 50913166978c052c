"""Process trees."""

from __future__ import annotations

import signal
import sys
from typing import Final

from model_hosting_container_standards.processes.tree import is_running
from namespaces import UNSHARE, needs_namespaces
from servers import polling, run_until_exit

#: A program that kills itself and its descendants, which have their own session.
KILLS_ITSELF: Final = """
import os, subprocess

from model_hosting_container_standards.processes.tree import (
    descendants,
    die_with_descendants,
)

stubborn = "trap '' TERM; sh -c 'sleep 1000 & wait' & wait"
subprocess.Popen(["sh", "-c", stubborn], start_new_session=True)
while len(pids := descendants(os.getpid())) < 3:
    pass
print(*pids, flush=True)
die_with_descendants()
"""


def test_process_dies_with_its_descendants() -> None:
    end = run_until_exit([sys.executable, "-c", KILLS_ITSELF])
    assert end.status == -signal.SIGKILL
    pids = [int(pid) for pid in end.stdout.split()]
    for _ in polling(20):
        if not any(map(is_running, pids)):
            return
    raise AssertionError(f"{pids} are left.")


@needs_namespaces
def test_process_1_dies_with_its_descendants() -> None:
    """Process 1 cannot be killed inside its namespace, so it exits instead."""
    end = run_until_exit([*UNSHARE, sys.executable, "-c", KILLS_ITSELF])
    assert end.status == 128 + signal.SIGKILL


def test_missing_process_does_not_run() -> None:
    assert not is_running(2**22 + 1)
