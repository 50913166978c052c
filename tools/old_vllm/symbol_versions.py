"""Make vLLM's extension load with a libstdc++ that is older than its compiler's.

Some releases were compiled by GCC 13 and require version GLIBCXX_3.4.32 of libstdc++.
That version adds a single symbol, which is referenced but never called (it makes the
linker include the library that initialises `std::cout`). Debian 12 and RHEL 9 have
3.4.30, with which the loader rejects the extension.

A required version can be marked weak: the loader then ignores that it is missing. This
sets one bit in the file, whose position `readelf` reports.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .binutils import run

VERSION: Final = "GLIBCXX_3.4.32"
WEAK: Final = 2
#: Offset of the flags in an entry (Elf64_Vernaux): after a hash of four bytes.
FLAGS_OFFSET: Final = 4

SECTION: Final = re.compile(
    r"Version needs section.*?Offset: 0x([0-9a-f]+)(.*?)(?:\n\n|\Z)", re.DOTALL
)
ENTRY: Final = re.compile(rf"0x([0-9a-f]+):   Name: {re.escape(VERSION)}  Flags: none")


def weaken_requirement(package: Path) -> None:
    """Mark the version as weak in all extensions of a package that require it."""
    for file in package.glob("*.so"):
        positions = [*flags(run("readelf", "--version-info", "--wide", str(file)))]
        if positions:
            mark_weak(file, positions)


def flags(version_info: str) -> Iterator[int]:
    """Yield the file offsets of the version's flags."""
    for offset, entries in SECTION.findall(version_info):
        for position in ENTRY.findall(entries):
            yield int(offset, 16) + int(position, 16) + FLAGS_OFFSET


def mark_weak(file: Path, positions: list[int]) -> None:
    content = bytearray(file.read_bytes())
    for position in positions:
        content[position] |= WEAK
    # Not in place: the file may be a hard link into an installer's cache.
    file.unlink()
    file.write_bytes(content)
