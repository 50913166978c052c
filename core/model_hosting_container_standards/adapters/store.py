"""The table of adapters in SQLite: for the processes of one machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from ..exceptions import AdapterNotFoundError
from ..storage import Database
from .adapter import Adapter, AdapterSpec, State
from .table import FIRST_ID, AdapterTable, Check

#: "MHCA" as SQLite's application id.
_APPLICATION: Final = 0x4D484341
#: An adapter's name is taken while it is in one of these states.
_REGISTERED: Final = "state IN ('ready', 'failed')"
# engine_names: every name that the engine may have cached something under.
# bundled: the names that ever came with the model, registered now or not.
_SCHEMA: Final = f"""
CREATE TABLE adapters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    src TEXT NOT NULL,
    path TEXT NOT NULL,
    engine_name TEXT NOT NULL UNIQUE,
    preload INTEGER NOT NULL,
    pin INTEGER NOT NULL,
    state TEXT NOT NULL,
    loaded INTEGER NOT NULL DEFAULT 0,
    by_handler INTEGER NOT NULL,
    reason TEXT,
    engine_id TEXT,
    options TEXT NOT NULL
);
CREATE UNIQUE INDEX registered ON adapters (name) WHERE {_REGISTERED};
CREATE TABLE engine_names (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE bundled (name TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO sqlite_sequence (name, seq) VALUES ('adapters', {FIRST_ID - 1})
"""


class AdapterStore(AdapterTable):
    """The ``AdapterTable`` in a SQLite file, and this process's cached view of it.

    Every method that writes is one transaction. A ``check`` is called with the counts
    after the change, and undoes the change by raising.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _APPLICATION, _SCHEMA)
        # Its version, the view and the number of registrations: replaced at once, as
        # threads read them, too.
        self._cached: tuple[int, Mapping[str, Adapter], int] = (-1, {}, 0)

    @property
    def registrations(self) -> int:
        return self._cached[2]

    def view(self) -> Mapping[str, Adapter]:
        """Return the registered adapters by name, sorted by name.

        Returns the same object until something changes.
        """
        version = self._database.version()
        seen, view, _ = self._cached
        if version != seen or version & 1:
            rows = self._select(f"{_REGISTERED} ORDER BY name")
            view = MappingProxyType({row.name: row for row in rows})
            ((last_id,),) = self._database.read("SELECT seq FROM sqlite_sequence")
            self._cached = (version, view, last_id - FIRST_ID + 1)
        return view

    def rows(self) -> list[Adapter]:
        return self._select("TRUE")

    def rows_of(self, name: str) -> list[Adapter]:
        return self._select("name = ?", name)

    def has(self, adapter_id: int) -> bool:
        return bool(self._select("id = ?", adapter_id))

    def _select(self, condition: str, *values: Any) -> list[Adapter]:
        statement = f"SELECT * FROM adapters WHERE {condition}"
        return [_from_row(row) for row in self._database.read(statement, values)]

    def reserve(
        self, spec: AdapterSpec, path: str, by_handler: bool, check: Check
    ) -> Adapter:
        """Add an adapter in state ``loading``, which no request sees yet."""
        with self._database.write(visible=False) as connection:
            adapter_id = _insert(connection, spec, path, "loading", by_handler)
            check(*_count_by_pin(connection))
            return _fetch(connection, adapter_id)

    def add_bundled(self, bundled: Sequence[tuple[AdapterSpec, str]]) -> list[str]:
        """Register bundled adapters, with their real paths, and return the new names.

        Names that are registered, or were bundled at an earlier start, are skipped.
        """
        added = []
        with self._database.write() as connection:
            for spec, path in bundled:
                new = connection.execute(
                    "INSERT OR IGNORE INTO bundled VALUES (?)", [spec.name]
                )
                if new.rowcount and _registered(connection, spec.name) is None:
                    _insert(connection, spec, path, "ready", by_handler=False)
                    added.append(spec.name)
        return added

    def complete(self, adapter: Adapter, *, loaded: bool) -> Adapter | None:
        """Mark an adapter as ready; return the one it replaces, now draining."""
        with self._database.write() as connection:
            replaced = _drain(connection, adapter.name)
            _update(connection, adapter.id, {"state": "ready", "loaded": loaded})
        return replaced

    def drain(self, name: str) -> Adapter | None:
        """Hide an adapter from new requests, and return it, if there is one."""
        with self._database.write() as connection:
            return _drain(connection, name)

    def discard(self, adapter_id: int) -> None:
        """Delete an adapter that is hidden from requests."""
        with self._database.write(visible=False) as connection:
            connection.execute("DELETE FROM adapters WHERE id = ?", [adapter_id])

    def change(
        self, adapter: Adapter, check: Check | None = None, **columns: Any
    ) -> Adapter:
        """Change columns of a registered adapter, and return the changed adapter.

        Raises:
            AdapterNotFoundError: it does not exist any more.
        """
        with self._database.write() as connection:
            _update(connection, adapter.id, columns)
            if check is not None:
                check(*_count_by_pin(connection))
            return _fetch(connection, adapter.id)

    def fail(self, adapter: Adapter, reason: str) -> None:
        """Mark an adapter as failed, with the reason."""
        failed: State = "failed"
        self.change(adapter, state=failed, loaded=False, reason=reason)

    def unload_all(self) -> None:
        """Mark all adapters as not loaded: the engine has just started."""
        with self._database.write() as connection:
            connection.execute("UPDATE adapters SET loaded = 0, engine_id = NULL")

    def close(self) -> None:
        self._database.close()


def _insert(
    connection: sqlite3.Connection,
    spec: AdapterSpec,
    path: str,
    state: State,
    by_handler: bool,
) -> int | None:
    """Add an adapter, and return its id."""
    columns = {
        "name": spec.name,
        "src": spec.src,
        "path": path,
        "preload": spec.preload,
        "pin": spec.pin,
        "state": state,
        "by_handler": by_handler,
        "options": msgspec.json.encode(spec.options).decode(),
        # Set below, once the id is known.
        "engine_name": "",
    }
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    cursor = connection.execute(
        f"INSERT INTO adapters ({names}) VALUES ({marks})", [*columns.values()]
    )
    adapter_id = cursor.lastrowid
    engine_name = _unused_name(connection, spec.name, adapter_id)
    _update(connection, adapter_id, {"engine_name": engine_name})
    return adapter_id


def _unused_name(
    connection: sqlite3.Connection, name: str, adapter_id: int | None
) -> str:
    """Reserve the name if no engine has seen it, else the name with the id added."""
    for candidate in (name, f"{name}#{adapter_id}"):
        added = connection.execute(
            "INSERT OR IGNORE INTO engine_names VALUES (?)", [candidate]
        )
        if added.rowcount:
            return candidate
    return _unused_name(connection, f"{name}#{adapter_id}", adapter_id)


def _update(
    connection: sqlite3.Connection, adapter_id: int | None, columns: Mapping[str, Any]
) -> None:
    assignments = ", ".join(f"{column} = ?" for column in columns)
    connection.execute(
        f"UPDATE adapters SET {assignments} WHERE id = ?",
        [*columns.values(), adapter_id],
    )


def _registered(connection: sqlite3.Connection, name: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        f"SELECT * FROM adapters WHERE name = ? AND {_REGISTERED}", [name]
    ).fetchone()
    return row


def _drain(connection: sqlite3.Connection, name: str) -> Adapter | None:
    row = _registered(connection, name)
    if row is None:
        return None
    _update(connection, row["id"], {"state": "draining"})
    return _from_row(row)


def _count_by_pin(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return how many adapters of the engine are pinned, and how many are not."""
    counts = connection.execute(
        "SELECT pin, count(*) FROM adapters "
        "WHERE state != 'failed' AND NOT by_handler GROUP BY pin"
    )
    by_pin = dict(map(tuple, counts))
    return by_pin.get(1, 0), by_pin.get(0, 0)


def _fetch(connection: sqlite3.Connection, adapter_id: int | None) -> Adapter:
    row = connection.execute(
        "SELECT * FROM adapters WHERE id = ?", [adapter_id]
    ).fetchone()
    if row is None:
        raise AdapterNotFoundError("The adapter was unregistered in the meantime.")
    return _from_row(row)


def _from_row(row: sqlite3.Row) -> Adapter:
    adapter_id, name, src, path, engine_name, *others, options = row
    preload, pin, state, loaded, by_handler, reason, engine_id = others
    return Adapter(
        id=adapter_id,
        name=name,
        src=src,
        path=path,
        engine_name=engine_name,
        preload=bool(preload),
        pin=bool(pin),
        state=state,
        loaded=bool(loaded),
        by_handler=bool(by_handler),
        reason=reason,
        engine_id=engine_id,
        options=msgspec.json.decode(options) if options != "{}" else {},
    )
