"""Read about processes from /proc."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from model_hosting_container_standards.processes.tree import is_running

PROC: Final = Path("/proc")
SHARED_MEMORY: Final = Path("/dev/shm")
#: A device and an inode number.
Inode = tuple[int, int]
_LISTENS: Final = "0A"
_HELPERS: Final = ("multiprocessing.forkserver", "multiprocessing.resource_tracker")


def pids() -> list[int]:
    return [int(folder.name) for folder in PROC.glob("[0-9]*")]


def group(leader: int) -> list[int]:
    """Return the running processes of a process group."""
    found = []
    for pid in pids():
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(pid) == leader and is_running(pid):
                found.append(pid)
    return found


def is_helper(pid: int) -> bool:
    """Whether a process is a helper of multiprocessing, which ends after its users."""
    return any(helper in command(pid) for helper in _HELPERS)


def command(pid: int) -> str:
    """Return a command line, empty for a process that has ended."""
    return _read(pid, "cmdline").replace("\0", " ").strip()


def environment(pid: int) -> dict[str, str]:
    """Return the variables that a process was started with."""
    variables = _read(pid, "environ").split("\0")
    return dict(variable.split("=", 1) for variable in variables if "=" in variable)


def listening_ports(pid: int) -> set[int]:
    """Return the TCP ports that a process listens on."""
    sockets = {*map(_target, _descriptors(pid))}
    tables = (_read(pid, f"net/{name}") for name in ("tcp", "tcp6"))
    rows = [row.split() for table in tables for row in table.splitlines()[1:]]
    return {
        int(address.rpartition(":")[2], 16)
        for _, address, _, state, _, _, _, _, _, inode, *_ in rows
        if state == _LISTENS and f"socket:[{inode}]" in sockets
    }


def shared_memory(processes: Iterable[int]) -> set[Path]:
    """Return the entries of /dev/shm that the processes use."""
    entries = {*SHARED_MEMORY.iterdir()} if SHARED_MEMORY.is_dir() else set()
    if not entries:
        return entries
    used = {inode for pid in processes for inode in _inodes_used(pid)}
    return {path for path in entries if not used.isdisjoint(_inodes_at(path))}


def _inodes_used(pid: int) -> Iterator[Inode]:
    """Yield the inodes that a process has open or mapped."""
    for line in _read(pid, "maps").splitlines():
        _, _, _, device, inode, *_ = line.split()
        major, minor = (int(part, 16) for part in device.split(":"))
        yield os.makedev(major, minor), int(inode)
    yield from filter(None, map(_inode, _descriptors(pid)))


def _inodes_at(path: Path) -> Iterator[Inode]:
    yield from filter(None, map(_inode, (path, *path.rglob("*"))))


def _inode(path: Path) -> Inode | None:
    with contextlib.suppress(OSError):
        stat = path.stat()
        return stat.st_dev, stat.st_ino
    return None


def _descriptors(pid: int) -> list[Path]:
    try:
        return [*(PROC / str(pid) / "fd").iterdir()]
    except OSError:
        return []


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _read(pid: int, name: str) -> str:
    try:
        return (PROC / str(pid) / name).read_text(errors="replace")
    except OSError:  # It has ended, or belongs to another user.
        return ""
