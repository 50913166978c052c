"""Let vLLM's extension load beside a C++ library that is older than its compiler's.

Some releases were compiled by GCC 13, and ask for version GLIBCXX_3.4.32 of libstdc++.
All that this version has is one symbol that is named and never called (it makes the
linker take the library that initialises `std::cout`). Debian 12 and RHEL 9 stop at
3.4.30, and there the loader refuses the extension.

The request for a version can be marked weak: the loader then goes on without it. That
is one bit in the file; `readelf` says where.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .binutils import run

VERSION: Final = "GLIBCXX_3.4.32"
WEAK: Final = 2
#: Where the flags are in an entry (Elf64_Vernaux): behind a hash of four bytes.
FLAGS_OFFSET: Final = 4

SECTION: Final = re.compile(
    r"Version needs section.*?Offset: 0x([0-9a-f]+)(.*?)(?:\n\n|\Z)", re.DOTALL
)
ENTRY: Final = re.compile(rf"0x([0-9a-f]+):   Name: {re.escape(VERSION)}  Flags: none")


def forgive(package: Path) -> None:
    """Mark the version weak in all extensions of a package that ask for it."""
    for file in package.glob("*.so"):
        positions = [*flags(run("readelf", "--version-info", "--wide", str(file)))]
        if positions:
            mark_weak(file, positions)


def flags(version_info: str) -> Iterator[int]:
    """Yield where in the file the flags of the version are."""
    for offset, entries in SECTION.findall(version_info):
        for position in ENTRY.findall(entries):
            yield int(offset, 16) + int(position, 16) + FLAGS_OFFSET


def mark_weak(file: Path, positions: list[int]) -> None:
    content = bytearray(file.read_bytes())
    for position in positions:
        content[position] |= WEAK
    # Not in place: an installer may have linked the file to its cache.
    file.unlink()
    file.write_bytes(content)
