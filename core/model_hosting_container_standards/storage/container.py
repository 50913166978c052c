"""Identifies the container that a process runs in."""

from __future__ import annotations

import contextlib
from hashlib import blake2b
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
#: Index of the process's start time in /proc/PID/stat, after the command's name.
_START_TIME: Final = 19


def container_id(proc: Path = _PROC) -> str:
    """Return an id that is common to a container's processes, and unique to it.

    A container lives as long as its process 1; without containers, that is until the
    machine reboots. No single part is sufficient: containers may share process 1 with
    the host (``--pid=host``), namespace numbers are reused, and a restarted container
    keeps its root file system. A part that cannot be read is left out, which is
    consistent, as it is hidden from every process of the container.
    """
    parts = (
        _read(proc / "sys/kernel/random/boot_id"),
        _start_time(_read(proc / "1/stat")),
        _read_link(proc / "self/ns/pid"),
        _read_link(proc / "self/ns/mnt"),
        root_mount(_read(proc / "self/mountinfo")),
    )
    return blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def root_mount(mountinfo: str) -> str:
    """Return what identifies the root file system; of overlays, the upper folder.

    Mount ids are left out, as they differ between processes that see the same mount;
    mount options are left out, as a remount changes them.
    """
    root_filesystem = ""
    for line in mountinfo.splitlines():
        mount, _, filesystem = line.partition(" - ")
        match mount.split(), filesystem.split():
            case [_, _, device, root, "/", *_], [kind, source, *options]:
                # If several are mounted on /, the last one is on top.
                root_filesystem = " ".join(
                    [device, root, kind, source, *_upper_folder(options)]
                )
    return root_filesystem


def _upper_folder(options: list[str]) -> list[str]:
    words = ",".join(options).split(",")
    return [word for word in words if word.startswith("upperdir=")]


def _start_time(stat: str) -> str:
    # The command's name may contain spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    return fields[_START_TIME] if len(fields) > _START_TIME else ""


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace")
    return ""


def _read_link(path: Path) -> str:
    with contextlib.suppress(OSError):
        return str(path.readlink())
    return ""
