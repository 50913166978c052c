"""Error texts for a path that is not an adapter's folder, with a suggested one."""

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
#: How deep adapters are searched for, and how many entries of a folder are read.
_MAX_DEPTH: Final = 3
_MAX_ENTRIES: Final = 1000
#: How many folders an error names.
_MAX_NAMED: Final = 5


def not_an_adapter(path: Path) -> AdapterError:
    """Return the error for a path that is not the folder of an adapter.

    Raises:
        OSError: it cannot be read.
    """
    if not path.exists():
        is_url = ":/" in str(path)
        advice = ": src must be a local path, not a URL" if is_url else ""
        return AdapterNotFoundError(f"The folder {str(path)!r} does not exist{advice}.")
    if path.is_dir():
        advice = _describe_folder(path)
    elif is_archive(path):
        advice = f"it is an archive. Unpack it, and name the folder with {CONFIG}"
    elif path.name in (CONFIG, *WEIGHTS):
        advice = "it is a file of an adapter. Name the folder that contains it"
    else:
        advice = "an adapter is a folder"
    return AdapterError(f"{str(path)!r} is not an adapter: {advice}.")


def is_archive(path: Path) -> bool:
    """Return whether a file name has an archive's extension."""
    return path.name.lower().endswith(_ARCHIVES)


def _describe_folder(folder: Path) -> str:
    lacks = f"it has no {CONFIG}"
    # Relative, since some servers hide absolute paths from clients.
    inner = [str(path.relative_to(folder)) for path in _inner_adapters(folder)]
    if len(inner) == 1:
        return f"{lacks}, but its folder {inner[0]!r} has one: name that folder"
    if inner:
        names = ", ".join(map(repr, inner[:_MAX_NAMED])) + (
            ", ..." if len(inner) > _MAX_NAMED else ""
        )
        return f"{lacks}, but its folders {names} have one: name one of them"
    archives = [entry for entry in _entries(folder) if is_archive(entry)]
    if archives:
        return f"{lacks}, but an archive. Unpack {archives[0].name!r}"
    if (folder / _MODEL).is_file():
        return f"{lacks}, but a {_MODEL}: it is a whole model"
    return lacks


def _inner_adapters(folder: Path) -> Sequence[Path]:
    """Return the adapters in a folder; a single subfolder is searched in turn.

    Links are not followed: they may lead outside the allowed folder.
    """
    for _ in range(_MAX_DEPTH):
        entries = (entry for entry in _entries(folder) if not entry.is_symlink())
        folders = [entry for entry in entries if entry.is_dir()]
        adapters = [inner for inner in folders if (inner / CONFIG).is_file()]
        if adapters or len(folders) != 1:
            return adapters
        (folder,) = folders
    return ()


def _entries(folder: Path) -> Sequence[Path]:
    """Return the visible entries of a folder, with numbers in order: 2 before 10."""
    visible = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    entries = itertools.islice(visible, _MAX_ENTRIES)
    return sorted(entries, key=lambda entry: (len(entry.name), entry.name))
