"""Which checks run, and which adapters there are for them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from .check import Check

_CONFIG: Final = "adapter_config.json"


def select_checks(
    checks: Iterable[Check], only: Collection[str], skipped: Collection[str]
) -> list[Check]:
    """Return the checks with a name or area of ``only``, without those of ``skipped``.

    Raises:
        ValueError: there is no check or area of a name.
    """
    checks = [*checks]
    known = {name for check in checks for name in (check.name, check.area)}
    for name in (*only, *skipped):
        if name not in known:
            near = get_close_matches(name, known, n=1) or sorted(
                {c.area for c in checks}
            )
            raise ValueError(f"there is no check {name!r}; there is {', '.join(near)}")
    return [
        check
        for check in checks
        if (not only or _is_named(check, only)) and not _is_named(check, skipped)
    ]


def _is_named(check: Check, names: Collection[str]) -> bool:
    return check.name in names or check.area in names


def find_adapters(folder: Path) -> dict[str, str]:
    """Return the paths of the adapters in a folder by name, or that of the folder.

    Raises:
        ValueError: there is none.
    """
    folder = folder.resolve()
    if (folder / _CONFIG).is_file():
        return {folder.name: str(folder)}
    found = sorted(path.parent for path in folder.glob(f"*/{_CONFIG}"))
    if not found:
        raise ValueError(f"{folder} has no adapter: no {_CONFIG} in it or its folders")
    return {path.name: str(path) for path in found}


def check_formats(files: Sequence[Path], suffixes: Collection[str]) -> None:
    """Check that each file has a name that tells its format, and can be written.

    Raises:
        ValueError: one of them does not.
    """
    for file in files:
        if file.suffix not in suffixes:
            endings = ", ".join(suffixes)
            raise ValueError(f"{file} ends in none of {endings}")
        if not file.parent.is_dir():
            raise ValueError(f"{file.parent} is not a folder")
