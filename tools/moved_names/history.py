"""Follows definitions from one release to the next."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from .sources import Place, Release

#: Minimum share of common identifiers in two versions of the same definition.
ALIKE: Final = 0.3


class Moved(NamedTuple):
    """A name that was moved or removed.

    ``last`` is the last release with the old place. ``new`` is the next place, from
    which the name may have moved again; None: it was removed.
    """

    old: Place
    last: str
    new: Place | None


class History:
    """The releases of a package, the oldest first.

    Args:
        renamed: what became of a definition where its name does not tell.
        accepted: places to which definitions moved that had to be looked at, because
            little of what they are made of stayed.
    """

    def __init__(
        self,
        releases: Sequence[Release],
        renamed: Mapping[Place, Place],
        accepted: Collection[Place],
    ) -> None:
        self.releases = releases
        self.renamed = renamed
        self.accepted = accepted
        #: Possible new places of a definition, with their similarity.
        self.doubtful: dict[Place, Mapping[Place, float]] = {}

    def moves(self, packages: Sequence[str]) -> Iterator[Moved]:
        """Yield the names that have left a module of the packages, and how they go on.

        A name that a module only imports counts where its definition is in the
        packages, or where that module is a package.
        """
        found = {*self._names(packages)}
        waiting = sorted(found)
        while waiting:
            move = self._move(waiting.pop())
            if move is None:
                continue
            yield move
            if move.new is not None and move.new not in found:
                found.add(move.new)
                waiting.append(move.new)

    def _names(self, packages: Sequence[str]) -> Iterator[Place]:
        for release in self.releases:
            for module in release.modules.values():
                if _is_in(module.name, packages):
                    for name in filter(_is_public, module.bindings):
                        place = Place(module.name, name)
                        source = release.definition(place)
                        if source is not None and (
                            module.is_package or _is_in(source.module, packages)
                        ):
                            yield place

    def _move(self, place: Place) -> Moved | None:
        """Return how a name left its place, None if it is still there."""
        numbers = reversed(range(len(self.releases)))
        number = next(n for n in numbers if self.releases[n].definition(place))
        if number + 1 == len(self.releases):
            return None
        source = self.releases[number].definition(place)
        new = self._successor(number, place) if source == place else source
        return Moved(place, self.releases[number].version, new)

    def _successor(self, number: int, place: Place) -> Place | None:
        """Return where a definition is one release later, None if it is nowhere."""
        older, newer = self.releases[number : number + 2]
        if (renamed := self.renamed.get(place)) is not None:
            return newer.definition(renamed)
        if _is_of_its_module(older, place):
            return None
        found = newer.definitions(place.name)
        # A definition that existed before is not the replacement, unless none is new.
        new = [other for other in found if older.definition(other) is None] or found
        likeness = {other: _likeness(older, place, newer, other) for other in new}
        best = max(likeness, key=lambda other: likeness[other], default=None)
        if best is None or best in self.accepted or likeness[best] >= ALIKE:
            return best
        self.doubtful[place] = likeness
        return None


def _is_in(module: str, packages: Sequence[str]) -> bool:
    return any(module == p or module.startswith(f"{p}.") for p in packages)


def _is_public(name: str) -> bool:
    """Whether a name is meant to be imported: not private, nor a logger."""
    return not name.startswith("_") and name != "logger" and len(name) > 1


def _is_of_its_module(release: Release, place: Place) -> bool:
    """Whether other modules use the name for something else, such as ``router``."""
    assigned = isinstance(release.binding(place), ast.Assign)
    return assigned and place.name.islower()


def _likeness(older: Release, old: Place, newer: Release, new: Place) -> float:
    """Return the share of identifiers that two definitions have in common."""
    before, after = older.words(old), newer.words(new)
    return len(before & after) / len(before | after) if before | after else 1.0
