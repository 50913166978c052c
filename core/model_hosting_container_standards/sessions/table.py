"""What holds the sessions of a server."""

from __future__ import annotations

from typing import Protocol

import msgspec


class StoredSession(msgspec.Struct, frozen=True):
    """A session as the table had it when the table was at ``version``.

    ``engine_id`` is what the engine calls it, as JSON; None: the engine knows nothing.
    ``expires`` is in Unix seconds.
    """

    id: str
    expires: int
    engine_id: str | None
    version: int


class SessionTable(Protocol):
    """One truth for all processes of a server, on one machine or on several.

    Any thread may use it. Every method that changes something is one transaction.
    """

    def create(self, session_id: str, expires: int, engine_id: str | None) -> None:
        """Add a session, instead of one that had its id."""

    def find(self, session_id: str) -> StoredSession:
        """Return a live session.

        Raises:
            SessionNotFoundError: there is none.
        """

    def end(self, session_id: str) -> bool:
        """End a session; tell whether it was live."""

    def put(self, session_id: str, name: str, value: str) -> None:
        """Set a value of a live session.

        Raises:
            SessionNotFoundError: there is no such session.
        """

    def get(self, session_id: str, name: str) -> str | None:
        """Return a value of a live session, None if it has none of this name.

        Raises:
            SessionNotFoundError: there is no such session.
        """

    def check(self) -> None:
        """See that the table can be read.

        Raises:
            StorageError: it cannot.
        """

    def close(self) -> None:
        """Let go of what the table is in."""
