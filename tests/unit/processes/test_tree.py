"""Processes and what is below them."""

from __future__ import annotations

import signal
import sys
from typing import Final

from model_hosting_container_standards.processes.tree import is_running
from namespaces import UNSHARE, needs_namespaces
from servers import polling, run_until_exit

#: Dies with a child and its child, which have a session of their own.
DIES: Final = """
import os, subprocess

from model_hosting_container_standards.processes.tree import (
    descendants,
    die_with_descendants,
)

stubborn = "trap '' TERM; sh -c 'sleep 1000 & wait' & wait"
subprocess.Popen(["sh", "-c", stubborn], start_new_session=True)
while len(below := descendants(os.getpid())) < 3:
    pass
print(*below, flush=True)
die_with_descendants()
"""


def test_a_process_dies_with_all_below_it() -> None:
    end = run_until_exit([sys.executable, "-c", DIES])
    assert end.status == -signal.SIGKILL
    below = [int(pid) for pid in end.stdout.split()]
    for _ in polling(20):
        if not any(map(is_running, below)):
            return
    raise AssertionError(f"{below} are left.")


@needs_namespaces
def test_process_1_dies_too() -> None:
    """It cannot be killed from inside its namespace, which ends with it."""
    end = run_until_exit([*UNSHARE, sys.executable, "-c", DIES])
    assert end.status == 128 + signal.SIGKILL
