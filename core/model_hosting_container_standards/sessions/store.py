"""The table of sessions in SQLite: for the processes of one machine."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..exceptions import SessionNotFoundError
from ..storage import Database, container_id, private_folder
from .session_counts import count_sessions
from .table import SessionStorage, SessionTable, StoredSession

_FILE: Final = "sessions.sqlite3"

#: "MHCS" as SQLite's application id.
_APPLICATION: Final = 0x4D484353
# The id of a closed or replaced session is NULL, until its row is deleted.
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
#: Rows of ended sessions that each write deletes. It adds one row at most.
_SWEPT_ROWS: Final = 8
#: Sessions that a process caches, to save a query per request.
_MAX_CACHED: Final = 10_000
#: Seconds that a writer waits for others. Short, as it may block the event loop.
_BUSY_S: Final = 1.0


@dataclass(frozen=True)
class SessionFile(SessionStorage):
    """The file of the sessions of one machine's processes."""

    path: Path

    @classmethod
    def in_folder(cls, folder: Path) -> SessionFile:
        """Return the file in a folder, of which only this package's files are touched.

        Raises:
            StorageError: the folder cannot be used.
        """
        # Separate for each container, as several may share /dev/shm.
        return cls(private_folder(folder.absolute(), f"mhcs-{container_id()}") / _FILE)

    def open(self) -> SessionStore:
        return SessionStore(self.path)


class SessionStore(SessionTable):
    """The ``SessionTable`` in a SQLite file.

    Every method that writes is one transaction, which also deletes a few rows of ended
    sessions: more than it adds, so that the table stays bounded, but few enough to keep
    each write fast.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _APPLICATION, _SCHEMA, _BUSY_S)
        self._cached: dict[str, StoredSession] = {}

    def create(self, session_id: str, expires: int, engine_id: str | None) -> None:
        """Add a session; it replaces one with the same id."""
        # A random id is in no reader's cache; only an engine's id may come again.
        replaces = engine_id is not None
        with self._database.write(visible=replaces) as connection:
            expired = _sweep(connection)
            replaced = connection.execute(f"{_END} id = ?", [session_id])
            connection.execute(
                "INSERT INTO sessions (id, expires, engine_id) VALUES (?, ?, ?)",
                [session_id, expires, engine_id],
            )
        count_sessions(begun=1, closed=replaced.rowcount, expired=expired)

    def find(self, session_id: str) -> StoredSession:
        """Return a live session, from the cache if no session was closed since.

        Raises:
            SessionNotFoundError: the session is unknown, closed or expired.
        """
        version = self._database.version()
        session = self._cached.get(session_id)
        if session is None or session.version != version or version & 1:
            session = self._look_up(session_id, version)
        if session is None or session.expires <= time.time():
            raise SessionNotFoundError(session_id)
        return session

    def end(self, session_id: str) -> bool:
        """End a session; return whether it was live."""
        with self._database.write() as connection:
            expired = _sweep(connection)
            ended = connection.execute(f"{_END} {_LIVE}", [session_id, time.time()])
        count_sessions(closed=ended.rowcount, expired=expired)
        return bool(ended.rowcount)

    def put(self, session_id: str, name: str, value: str) -> None:
        """Set a value of a live session.

        Raises:
            SessionNotFoundError: the session is unknown, closed or expired.
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
        count_sessions(expired=expired)

    def get(self, session_id: str, name: str) -> str | None:
        """Return a value of a live session, or None if it is not set.

        Raises:
            SessionNotFoundError: the session is unknown, closed or expired.
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
        """Check that the tables can be read.

        Raises:
            StorageError: they cannot.
        """
        for table in ("sessions", "session_values"):
            self._database.read(f"SELECT * FROM {table} LIMIT 1")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _look_up(self, session_id: str, version: int) -> StoredSession | None:
        rows = self._database.read(
            f"SELECT id, expires, engine_id FROM sessions WHERE {_LIVE}",
            [session_id, time.time()],
        )
        if not rows:
            return None
        if len(self._cached) >= _MAX_CACHED:
            self._cached.clear()
        _, expires, engine_id = rows[0]
        session = StoredSession(session_id, expires, engine_id, version)
        self._cached[session_id] = session
        return session


def _sweep(connection: sqlite3.Connection) -> int:
    """Delete a few rows of ended sessions; return how many sessions had expired."""
    rows = _SWEPT_ROWS
    expired = 0
    ended = connection.execute(
        "SELECT key, id FROM sessions WHERE expires <= ? ORDER BY expires LIMIT ?",
        [time.time(), _SWEPT_ROWS],
    )
    for key, session_id in ended.fetchall():
        deleted = connection.execute(
            "DELETE FROM session_values WHERE rowid IN "
            "(SELECT rowid FROM session_values WHERE session = ? LIMIT ?)",
            [key, rows],
        )
        rows -= deleted.rowcount
        if rows <= 0:
            break  # The session's own row goes last, as its values refer to it.
        connection.execute("DELETE FROM sessions WHERE key = ?", [key])
        expired += session_id is not None
        rows -= 1
    return expired
