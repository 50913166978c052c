"""What the kernel says of processes, where it has /proc."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
_LISTENS: Final = "0A"


def pids() -> list[int]:
    return [int(folder.name) for folder in PROC.glob("[0-9]*")]


def command(pid: int) -> str:
    """Return a command line, empty for a process that has ended."""
    return _read(pid, "cmdline").replace("\0", " ").strip()


def environment(pid: int) -> dict[str, str]:
    """Return the variables that a process was started with."""
    variables = _read(pid, "environ").split("\0")
    return dict(variable.split("=", 1) for variable in variables if "=" in variable)


def listening_ports(pid: int) -> set[int]:
    """Return the TCP ports that a process listens on."""
    sockets = {file for file in _open_files(pid) if file.startswith("socket:")}
    tables = (_read(pid, f"net/{name}") for name in ("tcp", "tcp6"))
    rows = [row.split() for table in tables for row in table.splitlines()[1:]]
    return {
        int(address.rpartition(":")[2], 16)
        for _, address, _, state, _, _, _, _, _, inode, *_ in rows
        if state == _LISTENS and f"socket:[{inode}]" in sockets
    }


def has_in_use(pid: int, path: Path) -> bool:
    """Whether a process has a file open or mapped, or one in a folder."""
    mapped = (line.split(maxsplit=5)[5:] for line in _read(pid, "maps").splitlines())
    files = [*_open_files(pid), *(name for names in mapped for name in names)]
    return any(path in (Path(file), *Path(file).parents) for file in files)


def _open_files(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for link in (PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(link.readlink())


def _read(pid: int, name: str) -> str:
    try:
        return (PROC / str(pid) / name).read_text(errors="replace")
    except OSError:  # It is gone, or another user's.
        return ""
