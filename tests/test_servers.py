"""What the tests start ends with them, and what it had in shared memory, too."""

from __future__ import annotations

import sys
from typing import Final

import pytest

from leaks import SHARED_MEMORY
from model_hosting_container_standards.supervisor.orphans import lives
from servers import Process, polling

#: Has a worker, which does not end by SIGTERM, and a segment of shared memory.
SHARES: Final = """
import signal, subprocess
from multiprocessing.shared_memory import SharedMemory
memory = SharedMemory(create=True, size=1)
worker = subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 1000 & wait"])
print(memory.name, worker.pid, flush=True)
signal.pause()
"""


@pytest.mark.parametrize("way", ["kill", "stop"])
def test_a_process_ends_with_its_workers_and_its_shared_memory(way: str) -> None:
    process = Process([sys.executable, "-c", SHARES])
    try:
        process.start()
        for _ in polling(20):
            if process.stdout().endswith("\n"):
                break
        name, worker = process.stdout().split()
        assert (SHARED_MEMORY / name).exists()
        getattr(process, way)()
        assert not lives(int(worker))
        assert not (SHARED_MEMORY / name).exists()
    finally:
        process.close()
