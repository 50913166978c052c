"""The API servers of a vLLM: their processes, CPU time and memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import proc
from model_hosting_container_standards.processes.tree import descendants
from servers import Server

#: Part of their titles, whose case differs among releases.
_TITLE: Final = "apiserver"


def api_servers(server: Server) -> Sequence[int]:
    """Return the processes that answer: the server's, or those that it has started."""
    started = [pid for pid in descendants(server.pid) if _is_api_server(pid)]
    return started or [server.pid]


def _is_api_server(pid: int) -> bool:
    return _TITLE in proc.command(pid).lower()


def cpu_time(pid: int) -> float:
    """Return the CPU time of a process in milliseconds, without its children."""
    _, _, fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) * 1000 / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Return the memory of a process in MB, without what it shares with others."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return (sizes["Private_Clean"] + sizes["Private_Dirty"]) / 1024
