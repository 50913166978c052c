"""What people name instead of an adapter's folder, and what they should name."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..exceptions import AdapterError, AdapterNotFoundError
from .weights import WEIGHTS

CONFIG: Final = "adapter_config.json"
_MODEL: Final = "config.json"
_ARCHIVES: Final = (".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip")
#: How deep an adapter is looked for, and among how many files of a folder.
_DEPTH: Final = 3
_MOST: Final = 1000
#: How many folders an error names.
_NAMED: Final = 5


def not_an_adapter(path: Path) -> AdapterError:
    """Return the error for a path that is not the folder of an adapter.

    Raises:
        OSError: it cannot be read.
    """
    if not path.exists():
        is_url = ":/" in str(path)
        advice = ": src is a path of this machine, not a URL" if is_url else ""
        return AdapterNotFoundError(f"There is no folder {str(path)!r}{advice}.")
    if path.is_dir():
        advice = _describe_folder(path)
    elif is_archive(path):
        advice = f"it is an archive. Unpack it, and name the folder that has {CONFIG}"
    elif path.name in (CONFIG, *WEIGHTS):
        advice = "it is a file of one. Name the folder that it is in"
    else:
        advice = "an adapter is a folder"
    return AdapterError(f"{str(path)!r} is not an adapter: {advice}.")


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive."""
    return path.name.lower().endswith(_ARCHIVES)


def _describe_folder(folder: Path) -> str:
    lacks = f"it has no {CONFIG}"
    # Relative, since some servers show no paths to clients.
    found = [str(inner.relative_to(folder)) for inner in _inner_adapters(folder)]
    if len(found) == 1:
        return f"{lacks}, but its folder {found[0]!r} has: name that one"
    if found:
        names = ", ".join(map(repr, found[:_NAMED])) + (
            ", ..." if len(found) > _NAMED else ""
        )
        return f"{lacks}, but its folders {names} have: name one of them"
    archives = [entry for entry in _entries(folder) if is_archive(entry)]
    if archives:
        return f"{lacks}, but an archive. Unpack {archives[0].name!r}"
    if (folder / _MODEL).is_file():
        return f"{lacks}, but a {_MODEL}: it is a whole model"
    return lacks


def _inner_adapters(folder: Path) -> Sequence[Path]:
    """Return the adapters that are in a folder, or in the only folder that it has.

    Links are not followed: they may lead out of where adapters may be loaded from.
    """
    for _ in range(_DEPTH):
        entries = (entry for entry in _entries(folder) if not entry.is_symlink())
        folders = [entry for entry in entries if entry.is_dir()]
        found = [inner for inner in folders if (inner / CONFIG).is_file()]
        if found or len(folders) != 1:
            return found
        (folder,) = folders
    return ()


def _entries(folder: Path) -> Sequence[Path]:
    """Return what is in a folder, in the order in which people count: 2 before 10."""
    visible = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    found = itertools.islice(visible, _MOST)
    return sorted(found, key=lambda entry: (len(entry.name), entry.name))
