"""The table of moved names: what it says of each, and its file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .history import Moved
from .sources import Place, Release

#: For each module, names by what became of them: as ``Move`` in core/.../moved_names.py
#: has it, without the names.
Table = Mapping[str, Mapping[tuple[str, str, str], list[str]]]


def group(moves: Iterable[Moved], instead: Mapping[str, str]) -> Table:
    """Return, for each module, the names that went the same way together.

    Args:
        instead: what does the work of names that are gone.
    """
    table: dict[str, dict[tuple[str, str, str], list[str]]] = {}
    for old, last, new in sorted(moves, key=lambda move: move.old):
        hint = "" if new is not None else instead.get(old.name, "")
        key = (last, _shown(old, new), hint)
        table.setdefault(old.module, {}).setdefault(key, []).append(old.name)
    return table


def as_json(table: Table) -> str:
    """Return the file's content: a line for each group, so that changes show."""
    modules = []
    for module, groups in table.items():
        ordered = sorted(groups.items(), key=lambda item: version_key(item[0][0]))
        lines = (json.dumps(_document(*item)) for item in ordered)
        modules.append(f"{json.dumps(module)}: [\n" + ",\n".join(lines) + "\n]")
    return "{\n" + ",\n".join(modules) + "\n}\n"


def unresolved(moves: Iterable[Moved], release: Release) -> Iterator[Moved]:
    """Yield the names that a release has lost, and that lead to nothing it has."""
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
    """Return a group without what is empty."""
    fields = dict(zip(("last", "place", "instead"), key, strict=True))
    return {"names": names, **{name: text for name, text in fields.items() if text}}
