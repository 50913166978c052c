"""Builds the table of moved names and its file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .history import Moved
from .sources import Place, Release

#: For each module, the moved names by the other fields of ``Move``: the last release,
#: the new place, the replacement.
Table = Mapping[str, Mapping[tuple[str, str, str], list[str]]]


def group(moves: Iterable[Moved], instead: Mapping[str, str]) -> Table:
    """Return, for each module, the moved names grouped by their new place.

    Args:
        instead: replacements of removed names.
    """
    table: dict[str, dict[tuple[str, str, str], list[str]]] = {}
    for old, last, new in sorted(moves, key=lambda move: move.old):
        hint = "" if new is not None else instead.get(old.name, "")
        key = (last, _shown(old, new), hint)
        table.setdefault(old.module, {}).setdefault(key, []).append(old.name)
    return table


def as_json(table: Table) -> str:
    """Return the file's content, one line per group, which gives readable diffs."""
    modules = []
    for module, groups in table.items():
        ordered = sorted(groups.items(), key=lambda item: version_key(item[0][0]))
        lines = (json.dumps(_document(*item)) for item in ordered)
        modules.append(f"{json.dumps(module)}: [\n" + ",\n".join(lines) + "\n]")
    return "{\n" + ",\n".join(modules) + "\n}\n"


def unresolved(moves: Iterable[Moved], release: Release) -> Iterator[Moved]:
    """Yield the names missing in a release whose replacements are missing as well."""
    steps = {move.old: move for move in moves}
    for move in steps.values():
        if is_newer(release.version, move.last):
            place: Place | None = move.old
            while place in steps and release.definition(place) is None:
                place = steps[place].new
            if place is not None and release.definition(place) is None:
                yield move


def version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def is_newer(version: str, other: str) -> bool:
    return version_key(version) > version_key(other)


def _shown(old: Place, new: Place | None) -> str:
    if new is None:
        return ""
    return new.module if new.name == old.name else str(new)


def _document(key: tuple[str, str, str], names: list[str]) -> dict[str, Any]:
    """Return a group without its empty fields."""
    fields = dict(zip(("last", "place", "instead"), key, strict=True))
    return {"names": names, **{name: text for name, text in fields.items() if text}}
