"""Names that moved between releases of vLLM.

The table ``moved_names.json`` is generated from the releases by ``tools/moved_names``.
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
    """Return the names missing in the installed release; all if that is unknown."""
    table = msgspec.json.decode(_TABLE.read_bytes(), type=dict[str, list[Move]])
    installed = _release(_installed_version())
    if not installed:
        return table
    missing = {
        module: [move for move in moves if _release(move.last) < installed]
        for module, moves in table.items()
    }
    return {module: moves for module, moves in missing.items() if moves}


def _installed_version() -> str:
    # Prefer the loaded package: the distribution's metadata may belong to another one.
    version: object = getattr(sys.modules.get("vllm"), "__version__", None)
    if isinstance(version, str):
        return version
    try:
        return metadata.version("vllm")
    except metadata.PackageNotFoundError:
        return ""


def _release(version: str) -> tuple[int, ...]:
    """Return the release numbers of a version; of a nightly, those of its base."""
    match = _RELEASE.match(version)
    return tuple(map(int, match[0].split("."))) if match else ()
