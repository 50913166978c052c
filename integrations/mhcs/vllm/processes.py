"""Finds the engine's processes of a vLLM server."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

from model_hosting_container_standards.engines import descendants

#: Parts of the titles that vLLM gives these processes, since 0.10.
_TITLES: Final = (b"EngineCore", b"Worker")


def engine_processes() -> Collection[int]:
    """Return the pids of the engine's processes on this machine.

    They are children of a single API server, or siblings of several API servers, which
    are left out. Until the processes have titles, all children of a single API server
    count as the engine's.
    """
    is_one_of_several = multiprocessing.parent_process() is not None
    pids = descendants(os.getppid() if is_one_of_several else os.getpid())
    titled = [pid for pid in pids if any(title in _title(pid) for title in _TITLES)]
    return titled if titled or is_one_of_several else pids


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""  # The process has exited.
