"""The table of sessions in SQLite: for the processes of one machine."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Final

from ..exceptions import SessionNotFoundError
from ..storage import Database
from .table import SessionTable, StoredSession

#: "MHCS" as SQLite's application id.
_APPLICATION: Final = 0x4D484353
# One that was closed, or whose id was given anew, has none, until it is swept away.
_SCHEMA: Final = """
CREATE TABLE sessions (
    key INTEGER PRIMARY KEY,
    id TEXT UNIQUE,
    expires INTEGER NOT NULL,
    engine_id TEXT
);
CREATE INDEX sessions_by_expiry ON sessions (expires);
CREATE TABLE session_values (
    session INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    UNIQUE (session, name)
)
"""
_LIVE: Final = "id = ? AND expires > ?"
_END: Final = "UPDATE sessions SET id = NULL, expires = 0 WHERE"
#: Rows of sessions that are over, which go with each write. It adds one at most.
_SWEPT: Final = 8
#: Sessions a process remembers, so that not each of their requests asks the database.
_REMEMBERED: Final = 10_000
#: Seconds a writer waits for others: it may be a coroutine, which holds up all others.
_BUSY_S: Final = 1.0


class SessionStore(SessionTable):
    """The ``SessionTable`` in a SQLite file.

    Every method that changes something is one transaction, and removes a few rows of
    sessions that are over: as many as are added at least, so the table stays bounded,
    and never so many that anybody waits.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _APPLICATION, _SCHEMA, _BUSY_S)
        self._remembered: dict[str, StoredSession] = {}

    def create(self, session_id: str, expires: int, engine_id: str | None) -> None:
        """Add a session, instead of one that had its id."""
        # A new id needs no look again of any reader, who has never seen it.
        replaces = engine_id is not None
        with self._database.write(visible=replaces) as connection:
            expired = _sweep(connection)
            replaced = connection.execute(f"{_END} id = ?", [session_id])
            connection.execute(
                "INSERT INTO sessions (id, expires, engine_id) VALUES (?, ?, ?)",
                [session_id, expires, engine_id],
            )
        _count(begun=1, closed=replaced.rowcount, expired=expired)

    def find(self, session_id: str) -> StoredSession:
        """Return a live session, by memory if nothing was closed since.

        Raises:
            SessionNotFoundError: there is none.
        """
        version = self._database.version()
        found = self._remembered.get(session_id)
        if found is None or found.version != version or version & 1:
            found = self._look_up(session_id, version)
        if found is None or found.expires <= time.time():
            raise SessionNotFoundError(session_id)
        return found

    def end(self, session_id: str) -> bool:
        """End a session; tell whether it was live."""
        with self._database.write() as connection:
            expired = _sweep(connection)
            ended = connection.execute(f"{_END} {_LIVE}", [session_id, time.time()])
        _count(closed=ended.rowcount, expired=expired)
        return bool(ended.rowcount)

    def put(self, session_id: str, name: str, value: str) -> None:
        """Set a value of a live session.

        Raises:
            SessionNotFoundError: there is no such session.
        """
        with self._database.write(visible=False) as connection:
            expired = _sweep(connection)
            put = connection.execute(
                "INSERT OR REPLACE INTO session_values "
                f"SELECT key, ?, ? FROM sessions WHERE {_LIVE}",
                [name, value, session_id, time.time()],
            )
            if not put.rowcount:
                raise SessionNotFoundError(session_id)
        _count(expired=expired)

    def get(self, session_id: str, name: str) -> str | None:
        """Return a value of a live session, None if it has none of this name.

        Raises:
            SessionNotFoundError: there is no such session.
        """
        rows = self._database.read(
            "SELECT value FROM sessions LEFT JOIN session_values "
            f"ON session = key AND name = ? WHERE {_LIVE}",
            [name, session_id, time.time()],
        )
        if not rows:
            raise SessionNotFoundError(session_id)
        value: str | None = rows[0]["value"]
        return value

    def check(self) -> None:
        """See that the tables can be read.

        Raises:
            StorageError: they cannot.
        """
        for table in ("sessions", "session_values"):
            self._database.read(f"SELECT * FROM {table} LIMIT 1")

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _look_up(self, session_id: str, version: int) -> StoredSession | None:
        rows = self._database.read(
            f"SELECT id, expires, engine_id FROM sessions WHERE {_LIVE}",
            [session_id, time.time()],
        )
        if not rows:
            return None
        if len(self._remembered) >= _REMEMBERED:
            self._remembered.clear()
        _, expires, engine_id = rows[0]
        found = StoredSession(session_id, expires, engine_id, version)
        self._remembered[session_id] = found
        return found


def _sweep(connection: sqlite3.Connection) -> int:
    """Delete a few rows of sessions that are over; return how many had expired."""
    rows = _SWEPT
    expired = 0
    over = connection.execute(
        "SELECT key, id FROM sessions WHERE expires <= ? ORDER BY expires LIMIT ?",
        [time.time(), _SWEPT],
    )
    for key, session_id in over.fetchall():
        deleted = connection.execute(
            "DELETE FROM session_values WHERE rowid IN "
            "(SELECT rowid FROM session_values WHERE session = ? LIMIT ?)",
            [key, rows],
        )
        rows -= deleted.rowcount
        if rows <= 0:
            break  # The session itself goes last: by it its values are found.
        connection.execute("DELETE FROM sessions WHERE key = ?", [key])
        expired += session_id is not None
        rows -= 1
    return expired


def _count(begun: int = 0, closed: int = 0, expired: int = 0) -> None:
    """Count what has been written."""
    # Imported late: customers' scripts import this module too, and count nothing.
    from ..observability.metrics import BEGUN, CLOSED, EXPIRED

    BEGUN.inc(begun)
    CLOSED.inc(closed)
    EXPIRED.inc(expired)
