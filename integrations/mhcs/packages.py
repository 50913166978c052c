"""Files of installed packages, found without importing the package."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path


def package_folders(name: str) -> list[Path]:
    """Return the folders of a package; empty if it is not installed."""
    spec = find_spec(name)
    return [*map(Path, spec.submodule_search_locations or ())] if spec else []


def read_sources(name: str, patterns: Iterable[str]) -> str:
    """Return the text of a package's files that match any of the patterns."""
    files = (
        file
        for folder in package_folders(name)
        for pattern in patterns
        for file in folder.glob(pattern)
    )
    return "\n".join(file.read_text() for file in files)
