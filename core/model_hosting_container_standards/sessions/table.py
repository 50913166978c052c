"""The storage interface of sessions."""

from __future__ import annotations

from typing import Protocol

import msgspec


class StoredSession(msgspec.Struct, frozen=True):
    """A session as stored when the table was at ``version``.

    ``engine_id`` is the engine's id of the session, as JSON; None without one.
    ``expires`` is in Unix seconds.
    """

    id: str
    expires: int
    engine_id: str | None
    version: int


class SessionStorage(Protocol):
    """A place where sessions are stored. Equal ones are the same place."""

    #: Whether reading takes too long for an event loop, as from another machine.
    reads_block: bool = False

    def open(self) -> SessionTable:
        """Open the table.

        Raises:
            StorageError: it cannot be used.
        """


class SessionTable(Protocol):
    """The sessions of all processes of a server, on one machine or on several.

    Thread-safe. Every method that changes something is one transaction.
    """

    def create(self, session_id: str, expires: int, engine_id: str | None) -> None:
        """Add a session, or replace the one with the same id."""

    def find(self, session_id: str) -> StoredSession:
        """Return a live session.

        Raises:
            SessionNotFoundError: the session is unknown, closed or expired.
        """

    def end(self, session_id: str) -> bool:
        """End a session; return whether it was live."""

    def put(self, session_id: str, name: str, value: str) -> None:
        """Set a value of a live session.

        Raises:
            SessionNotFoundError: the session is unknown, closed or expired.
        """

    def get(self, session_id: str, name: str) -> str | None:
        """Return a value of a live session, or None if it is not set.

        Raises:
            SessionNotFoundError: the session is unknown, closed or expired.
        """

    def check(self) -> None:
        """Check that the table can be read.

        Raises:
            StorageError: the table cannot be read.
        """

    def close(self) -> None:
        """Close the table's storage."""
