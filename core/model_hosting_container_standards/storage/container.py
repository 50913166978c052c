"""Identity of the container a process runs in, told apart by what the kernel shows."""

from __future__ import annotations

import contextlib
from hashlib import blake2b
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
#: Of /proc/PID/stat, behind the command's name: when the process was started.
_START_TIME: Final = 19


def container_id(proc: Path = _PROC) -> str:
    """Return an id that all processes of a container share, and no other container has.

    A container lives as long as its process 1. On a machine without containers, that
    is as long as the machine runs. No part is enough by itself: containers may share
    process 1 with the host (``--pid=host``), numbers of namespaces are used again, and
    a restarted container has the root file system that it had before. What cannot be
    read is left out: it is hidden from every process of the container.
    """
    parts = (
        _read(proc / "sys/kernel/random/boot_id"),
        _start_time(_read(proc / "1/stat")),
        _link(proc / "self/ns/pid"),
        _link(proc / "self/ns/mnt"),
        root_mount(_read(proc / "self/mountinfo")),
    )
    return blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def root_mount(mountinfo: str) -> str:
    """Return what tells the root file system from others: of overlays, the top folder.

    Neither ids of mounts, which differ between processes that see the same one, nor
    options, which a remount changes.
    """
    found = ""
    for line in mountinfo.splitlines():
        mount, _, filesystem = line.partition(" - ")
        match mount.split(), filesystem.split():
            case [_, _, device, root, "/", *_], [kind, source, *options]:
                # Of several, the last one is on top of the others.
                found = " ".join([device, root, kind, source, *_upper(options)])
    return found


def _upper(options: list[str]) -> list[str]:
    words = ",".join(options).split(",")
    return [word for word in words if word.startswith("upperdir=")]


def _start_time(stat: str) -> str:
    # The command's name may have spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    return fields[_START_TIME] if len(fields) > _START_TIME else ""


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace")
    return ""


def _link(path: Path) -> str:
    with contextlib.suppress(OSError):
        return str(path.readlink())
    return ""
