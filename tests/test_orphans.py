"""Processes and what is below them."""

from __future__ import annotations

import subprocess

from model_hosting_container_standards.supervisor.orphans import (
    descendants,
    kill_with_descendants,
    lives,
)
from servers import polling


def test_a_process_is_killed_with_all_below_it() -> None:
    command = ["sh", "-c", "trap '' TERM; sh -c 'sleep 1000 & wait' & wait"]
    with subprocess.Popen(command) as process:
        for _ in polling(20):
            if len(below := descendants(process.pid)) == 2:
                break
        kill_with_descendants(process.pid)
        # Killed last, it may have ended because its children have.
        process.wait(20)
    for _ in polling(20):
        if not any(map(lives, below)):
            return
    raise AssertionError(f"{below} are left.")
