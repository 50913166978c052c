"""Which processes compute for vLLM's server."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

from model_hosting_container_standards.engines import descendants

#: What vLLM calls those processes, since 0.10.
_TITLES: Final = (b"EngineCore", b"Worker")


def engine_processes() -> Collection[int]:
    """Return the engine's processes, as far as they are on this machine.

    One API server has started them; several are beside them, and none of these counts.
    Before they have titles, all that one API server has started are taken for them.
    """
    is_one_of_several = multiprocessing.parent_process() is not None
    pids = descendants(os.getppid() if is_one_of_several else os.getpid())
    titled = [pid for pid in pids if any(title in _title(pid) for title in _TITLES)]
    return titled if titled or is_one_of_several else pids


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""  # It is gone.
