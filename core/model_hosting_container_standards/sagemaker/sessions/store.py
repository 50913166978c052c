"""The table of sessions: one truth for all processes of a server."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from ...common.storage import Database
from ...exceptions import SessionNotFoundError

#: "MHCS" as SQLite's application id.
_APPLICATION: Final = 0x4D484353
_SCHEMA: Final = """
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    expires INTEGER NOT NULL,
    engine_id TEXT
) WITHOUT ROWID;
CREATE INDEX sessions_by_expiry ON sessions (expires);
CREATE TABLE session_values (
    session_id TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    UNIQUE (session_id, key)
)
"""
_LIVE: Final = "id = ? AND expires > ?"
#: Rows of expired sessions that go with each write, which itself adds two at most.
_SWEPT: Final = 8
#: Sessions a process remembers, so that not each of their requests asks the database.
_REMEMBERED: Final = 10_000


class StoredSession(msgspec.Struct, frozen=True):
    """A session as the table had it when the database was at ``version``.

    ``engine_id`` is what the engine calls it, as JSON; None: the engine knows nothing.
    ``expires`` is in Unix seconds.
    """

    id: str
    expires: int
    engine_id: str | None
    version: int


class SessionStore:
    """Sessions and their values in a SQLite file. Any thread may use it.

    Every method that changes something is one transaction, and removes a few rows that
    have expired: as many as are added at least, so the table stays bounded, and never
    so many that anybody waits.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _APPLICATION, _SCHEMA)
        self._remembered: dict[str, StoredSession] = {}

    def create(self, session_id: str, expires: int, engine_id: str | None) -> None:
        """Add a session, instead of one that had its id."""
        # No reader has to look again: what is not remembered is looked up anyway.
        replaces = engine_id is not None
        with self._database.write(visible=replaces) as connection:
            _sweep(connection)
            _delete_values(connection, session_id, limit=-1)
            connection.execute(
                "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?)",
                [session_id, expires, engine_id],
            )

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

    def close(self, session_id: str) -> bool:
        """Remove a session and its values; tell whether it was live."""
        with self._database.write() as connection:
            _sweep(connection)
            deleted = connection.execute(
                f"DELETE FROM sessions WHERE {_LIVE}", [session_id, time.time()]
            )
            if was_live := bool(deleted.rowcount):
                _delete_values(connection, session_id, limit=-1)
        return was_live

    def put(self, session_id: str, key: str, value: str) -> None:
        """Set a value of a live session.

        Raises:
            SessionNotFoundError: there is no such session.
        """
        with self._database.write(visible=False) as connection:
            _sweep(connection)
            put = connection.execute(
                "INSERT OR REPLACE INTO session_values "
                f"SELECT id, ?, ? FROM sessions WHERE {_LIVE}",
                [key, value, session_id, time.time()],
            )
            if not put.rowcount:
                raise SessionNotFoundError(session_id)

    def get(self, session_id: str, key: str) -> str | None:
        """Return a value of a live session, None if it has none of this key.

        Raises:
            SessionNotFoundError: there is no such session.
        """
        rows = self._database.read(
            "SELECT value FROM sessions LEFT JOIN session_values "
            f"ON session_id = id AND key = ? WHERE {_LIVE}",
            [key, session_id, time.time()],
        )
        if not rows:
            raise SessionNotFoundError(session_id)
        value: str | None = rows[0]["value"]
        return value

    def shut(self) -> None:
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


def _sweep(connection: sqlite3.Connection) -> None:
    """Delete a few rows of sessions that have expired."""
    rows = _SWEPT
    expired = connection.execute(
        "SELECT id FROM sessions WHERE expires <= ? ORDER BY expires LIMIT ?",
        [time.time(), _SWEPT],
    )
    for (session_id,) in expired.fetchall():
        rows -= _delete_values(connection, session_id, limit=rows)
        if rows <= 0:
            return  # The session itself goes last: by it its values are found.
        connection.execute("DELETE FROM sessions WHERE id = ?", [session_id])
        rows -= 1


def _delete_values(
    connection: sqlite3.Connection, session_id: str, *, limit: Any
) -> int:
    """Delete values of a session, all if the limit is negative; return how many."""
    deleted = connection.execute(
        "DELETE FROM session_values WHERE rowid IN "
        "(SELECT rowid FROM session_values WHERE session_id = ? LIMIT ?)",
        [session_id, limit],
    )
    return deleted.rowcount
