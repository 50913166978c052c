"""Names that releases of vLLM moved.

They are in ``moved_names.json``, which ``tools/moved_names`` makes of the releases.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

from model_hosting_container_standards.engines import Move, MovedNames

_TABLE: Final = Path(__file__).with_name("moved_names.json")
_RELEASE: Final = re.compile(r"\d+(\.\d+)+")


def moved_names() -> MovedNames:
    """Return what the installed release has lost; all there is if none is known."""
    table = msgspec.json.decode(_TABLE.read_bytes(), type=dict[str, list[Move]])
    installed = _release(_installed_version())
    if not installed:
        return table
    lost = {
        module: [move for move in moves if _release(move.last) < installed]
        for module, moves in table.items()
    }
    return {module: moves for module, moves in lost.items() if moves}


def _installed_version() -> str:
    # The package itself, where it is loaded: its distribution may be another's.
    version: object = getattr(sys.modules.get("vllm"), "__version__", None)
    if isinstance(version, str):
        return version
    try:
        return metadata.version("vllm")
    except metadata.PackageNotFoundError:
        return ""


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with: of a nightly, its base's."""
    found = _RELEASE.match(version)
    return tuple(map(int, found[0].split("."))) if found else ()
