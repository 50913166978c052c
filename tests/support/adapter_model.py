"""A model of the adapter table for stateful tests: a dict, and the operations on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from adapter_engine import BROKEN

SLOTS: Final = 2


@dataclasses.dataclass(frozen=True)
class Entry:
    """A registered adapter. ``id`` is None until it is known."""

    src: str
    pin: bool
    preload: bool
    id: int | None = None


@dataclasses.dataclass(frozen=True)
class World:
    """The expected state; ``leaving`` maps ids that are draining to their pins."""

    table: Mapping[str, Entry]
    leaving: Mapping[int, bool]

    def with_entry(self, name: str, entry: Entry | None) -> World:
        others = {key: old for key, old in self.table.items() if key != name}
        added = {} if entry is None else {name: entry}
        return dataclasses.replace(self, table={**others, **added})

    def has_room_for(self, *more: bool) -> bool:
        old = [*(entry.pin for entry in self.table.values()), *self.leaving.values()]
        pins = [*old, *more]
        return not any(pins) or len(pins) <= SLOTS


@dataclasses.dataclass(frozen=True)
class Operation:
    """A command, and its expected effect."""

    command: str
    name: str
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def apply(self, world: World, leased: set[int]) -> tuple[int, World]:
        """Return the expected status, and the world afterwards."""
        old = world.table.get(self.name)
        if self.command == "register":
            return self._register(world, old, leased)
        if old is None:
            return 404, world
        if self.command == "unregister":
            return 200, _without(world.with_entry(self.name, None), old, leased)
        new = dataclasses.replace(old, **self.fields)
        rest = world.with_entry(self.name, None)
        if new.pin and not old.pin and not rest.has_room_for(True):
            kept = dataclasses.replace(new, pin=False)
            return 507, world.with_entry(self.name, kept)
        return 200, world.with_entry(self.name, new)

    def _register(
        self, world: World, old: Entry | None, leased: set[int]
    ) -> tuple[int, World]:
        replace = self.fields["replace"]
        wanted = {key: self.fields[key] for key in ("src", "pin", "preload")}
        if old is not None and not replace:
            if old.src != wanted["src"]:
                return 409, world
            if not wanted["pin"]:
                return 200, world
            return Operation("update", self.name, {"pin": True}).apply(world, leased)
        if not world.has_room_for(wanted["pin"]):
            return 507, world
        if wanted["src"] == BROKEN:
            return 400, world
        after = world.with_entry(self.name, Entry(**wanted))
        return 200, after if old is None else _without(after, old, leased)

    @property
    def sets_pin(self) -> bool:
        """Whether success makes the engine's pins agree with the table."""
        if self.command == "update":
            return "pin" in self.fields
        return self.command == "unregister" or any(
            self.fields[key] for key in ("pin", "replace")
        )


def _without(world: World, old: Entry, leased: set[int]) -> World:
    if old.id is None or old.id not in leased:
        return world
    return dataclasses.replace(world, leaving={**world.leaving, old.id: old.pin})
