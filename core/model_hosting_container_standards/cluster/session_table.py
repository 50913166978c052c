"""The table of sessions in the coordinator's memory, stored in a journal."""

from __future__ import annotations

import heapq
import threading
import time
from typing import Final

import msgspec

from ..exceptions import SessionNotFoundError
from ..sessions.session_counts import count_sessions
from ..sessions.table import SessionTable, StoredSession
from .journal import Journal

_SESSIONS: Final = "session/"
#: Expired sessions that each write deletes. It adds one at most.
_SWEPT: Final = 8
#: Sessions that were closed or replaced, and are kept by expiry in any case.
_MAX_ENDED: Final = 1000


class _Stored(msgspec.Struct, frozen=True):
    """A session with its values, which are JSON."""

    expires: int
    engine_id: str | None
    values: dict[str, str]


class JournaledSessions(SessionTable):
    """The ``SessionTable`` of servers on several machines. Thread-safe.

    A change is written to the journal first: if that fails, nothing has changed.
    Reading never waits for the journal.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._writing = threading.Lock()
        self._sessions: dict[str, _Stored] = {}
        self._by_expiry: list[tuple[int, str]] = []
        for session_id, value in journal.entries(_SESSIONS).items():
            self._add(session_id, msgspec.json.decode(value, type=_Stored))

    def create(self, session_id: str, expires: int, engine_id: str | None) -> None:
        with self._writing:
            self._sweep()
            replaces = session_id in self._sessions
            session = _Stored(expires, engine_id, {})
            self._save(session_id, session)
            self._add(session_id, session)
            count_sessions(begun=1, closed=replaces)

    def find(self, session_id: str) -> StoredSession:
        session = self._live(session_id)
        return StoredSession(session_id, session.expires, session.engine_id, 0)

    def end(self, session_id: str) -> bool:
        with self._writing:
            self._sweep()
            try:
                self._live(session_id)
            except SessionNotFoundError:
                return False
            self._delete(session_id)
            count_sessions(closed=1)
            return True

    def put(self, session_id: str, name: str, value: str) -> None:
        with self._writing:
            self._sweep()
            session = self._live(session_id)
            values = {**session.values, name: value}
            changed = msgspec.structs.replace(session, values=values)
            self._save(session_id, changed)
            self._sessions[session_id] = changed

    def get(self, session_id: str, name: str) -> str | None:
        return self._live(session_id).values.get(name)

    def check(self) -> None:
        """Do nothing: the journal has been read."""

    def close(self) -> None:
        """Do nothing: the journal belongs to the caller."""

    def _live(self, session_id: str) -> _Stored:
        session = self._sessions.get(session_id)
        if session is None or session.expires <= time.time():
            raise SessionNotFoundError(session_id)
        return session

    def _add(self, session_id: str, session: _Stored) -> None:
        self._sessions[session_id] = session
        heapq.heappush(self._by_expiry, (session.expires, session_id))
        if len(self._by_expiry) > 2 * len(self._sessions) + _MAX_ENDED:
            self._by_expiry = [(s.expires, key) for key, s in self._sessions.items()]
            heapq.heapify(self._by_expiry)

    def _save(self, session_id: str, session: _Stored) -> None:
        self._journal.put(_SESSIONS + session_id, msgspec.json.encode(session))

    def _delete(self, session_id: str) -> None:
        self._journal.delete(_SESSIONS + session_id)
        del self._sessions[session_id]

    def _sweep(self) -> None:
        """Delete a few expired sessions: more than a write adds."""
        now = time.time()
        for _ in range(_SWEPT):
            if not self._by_expiry or self._by_expiry[0][0] > now:
                break
            expires, session_id = self._by_expiry[0]
            session = self._sessions.get(session_id)
            # It may have been ended, or replaced by a later one of the same id.
            if session is not None and session.expires == expires:
                self._delete(session_id)
                count_sessions(expired=1)
            heapq.heappop(self._by_expiry)  # Not before: the journal may fail.
