"""The helpers of tests/support/servers: processes end completely, and get signals."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import Final

import pytest

import servers
from model_hosting_container_standards.processes.tree import is_running
from proc import SHARED_MEMORY
from servers import Process, polling, run_until_exit, shared_memory

#: Starts a worker that ignores SIGTERM, and creates shared memory.
SHARES: Final = """
import signal, subprocess
from multiprocessing.shared_memory import SharedMemory
memory = SharedMemory(create=True, size=1)
worker = subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 1000 & wait"])
print(memory.name, worker.pid, flush=True)
signal.pause()
"""


@pytest.mark.parametrize("way", ["kill", "stop"])
def test_process_ends_with_its_workers_and_shared_memory(way: str) -> None:
    process = Process([sys.executable, "-c", SHARES])
    try:
        process.start()
        for _ in polling(20):
            if process.stdout().endswith("\n"):
                break
        name, worker = process.stdout().split()
        assert (SHARED_MEMORY / name).exists()
        getattr(process, way)()
        assert not is_running(int(worker))
        assert not (SHARED_MEMORY / name).exists()
    finally:
        process.close()


def test_leftover_shared_memory_is_recorded() -> None:
    path = SHARED_MEMORY / f"mhcs-{uuid.uuid4()}"
    code = f"import signal; file = open({str(path)!r}, 'w'); signal.pause()"
    process = Process([sys.executable, "-c", code])
    process.start()
    try:
        for _ in polling(20):
            if path.exists():
                break
        process.kill()
        assert path in shared_memory
    finally:
        process.close()
        path.unlink()


#: Prints whether a child ignores signals that this process ignored.
STARTS: Final = """
import signal, subprocess, sys
from servers import catch_ignored_signals
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    signal.signal(number, signal.SIG_IGN)
catch_ignored_signals()
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    signal.raise_signal(number)
command = "from signal import *; print(SIG_IGN in map(getsignal, (1, 2, 3)))"
subprocess.run([sys.executable, "-c", command], check=True)
"""


def test_children_do_not_ignore_signals_ignored_here() -> None:
    env = {"PYTHONPATH": str(Path(servers.__file__).parent)}
    end = run_until_exit([sys.executable, "-c", STARTS], env)
    assert (end.status, end.stdout) == (0, "False\n"), end.stderr
