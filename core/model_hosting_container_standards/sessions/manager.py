"""Sessions as handlers use them: a few values, kept from one request to the next."""

from __future__ import annotations

import contextlib
import json
import math
import re
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Final

from ..exceptions import ConfigurationError, SessionNotFoundError, StorageError
from ..settings import Settings, read_settings
from ..storage.container import container_id
from ..storage.folder import default_parent, private_folder
from .store import SessionStore
from .table import SessionTable, StoredSession

LONGEST_ID: Final = 256
_ID: Final = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
_FILE: Final = "sessions.sqlite3"


class Session:
    """A session, which every process of the server sees.

    Its methods raise :class:`SessionNotFoundError` once it is closed or has expired; a
    handler that does not catch it answers 400. They raise :class:`StorageError` if the
    table cannot be read, or not be written for a second.
    """

    __slots__ = ("_sessions", "_stored")

    def __init__(self, sessions: SessionManager, stored: StoredSession) -> None:
        self._sessions = sessions
        self._stored = stored

    @property
    def session_id(self) -> str:
        """The id that the client sends."""
        return self._stored.id

    @property
    def expires_at(self) -> int:
        """When the session ends by itself, in Unix seconds."""
        return self._stored.expires

    @property
    def engine_id(self) -> Any:
        """What the engine calls the session: the same id, unless it has its own."""
        engine_id = self._stored.engine_id
        return self.session_id if engine_id is None else json.loads(engine_id)

    def put(self, key: str, value: Any) -> None:
        """Set a value, which is any JSON; others see the old one or the new one.

        Raises:
            TypeError: the key is no string, or the value is no JSON.
        """
        store = self._sessions.store
        store.put(self.session_id, _encode_key(key), _encode(key, value))

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, or ``default`` if there is none of this key."""
        value = self._sessions.store.get(self.session_id, _encode_key(key))
        return default if value is None else json.loads(value)

    def remove(self) -> None:
        """End the session, and forget its values."""
        self._sessions.close_session(self.session_id)


class SessionManager:
    """The sessions of a server, in a file of a folder. Any thread may use it.

    The file is opened when it is first needed: what is opened before a fork would be
    of no use after it.

    Args:
        path: the folder, in which only what this package made is ever touched.
        expiration_s: how many seconds a session lives.

    Raises:
        StorageError: the folder cannot be used.
    """

    def __init__(self, path: Path, expiration_s: int) -> None:
        # A container's own, also where several share /dev/shm.
        folder = private_folder(path.absolute(), f"mhcs-{container_id()}")
        self._file = folder / _FILE
        self._expiration_s = expiration_s
        self._opening = threading.Lock()
        self._store: SessionTable | None = None

    def create_session(self, engine_id: Any = None) -> Session:
        """Begin a session. ``engine_id`` is what an engine with its own calls it.

        Raises:
            StorageError: it cannot be written.
        """
        known = None if engine_id is None else json.dumps(engine_id)
        session_id = _id_for(engine_id)
        # A whole second, as clients are told, and never less than was promised.
        expires = math.ceil(time.time() + self._expiration_s)
        self.store.create(session_id, expires, known)
        return Session(self, StoredSession(session_id, expires, known, -1))

    def get_session(self, session_id: str) -> Session:
        """Return a session.

        Raises:
            SessionNotFoundError: there is none of this id, or not any more.
        """
        return Session(self, self.store.find(_check_id(session_id)))

    def close_session(self, session_id: str) -> None:
        """End a session, and forget its values.

        Raises:
            SessionNotFoundError: there is none of this id, or not any more.
        """
        if not self.store.end(_check_id(session_id)):
            raise SessionNotFoundError(session_id)

    @property
    def store(self) -> SessionTable:
        """The open table.

        Raises:
            StorageError: it cannot be used.
        """
        store = self._store
        if store is None:
            with self._opening:
                if (store := self._store) is None:
                    store = self._store = SessionStore(self._file)
        return store

    def is_like(self, other: SessionManager) -> bool:
        """Whether both are of one folder, and make the same sessions."""
        same_file = self._file == other._file
        return same_file and self._expiration_s == other._expiration_s

    def check(self) -> None:
        """Make the file, or see that it can be used; do not keep it open.

        Raises:
            StorageError: it cannot be used.
        """
        with contextlib.closing(SessionStore(self._file)) as store:
            store.check()

    def shut(self) -> None:
        """Let go of the file, until it is needed again."""
        with self._opening:
            store, self._store = self._store, None
        if store is not None:
            store.close()


def is_session_id(value: object) -> bool:
    """Whether the platform takes the value for a session id."""
    if not isinstance(value, str) or len(value) > LONGEST_ID:
        return False
    return _ID.fullmatch(value) is not None


def _check_id(session_id: str) -> str:
    if not is_session_id(session_id):
        # Not told back: it may be long, and hold anything.
        raise SessionNotFoundError(
            f"an id is 1 to {LONGEST_ID} letters, digits and inner hyphens"
        )
    return session_id


class _Current:
    """The sessions of this process, if they are on."""

    sessions: SessionManager | None = None


def get_session_manager() -> SessionManager | None:
    """Return the sessions of the server, None where they are off.

    They are there once an app is bootstrapped; all apps of a process share them.
    """
    return _Current.sessions


def init_session_manager_from_env() -> SessionManager | None:
    """Read the environment as ``bootstrap`` does, and return the sessions, for tests.

    Raises:
        ConfigurationError: a variable has a value that is not allowed.
    """
    reset_sessions()
    settings = read_settings()
    return open_sessions(settings) if settings.sessions_enabled else None


def open_sessions(settings: Settings) -> SessionManager:
    """Make the sessions that :func:`get_session_manager` returns from now on.

    Raises:
        ConfigurationError: a variable has a value that is not allowed.
        StorageError: no variable is set, and nothing can be written.
    """
    path = settings.sessions_path or default_parent("sagemaker_sessions")
    try:
        sessions = SessionManager(path, settings.sessions_expiration)
        if (current := _Current.sessions) and current.is_like(sessions):
            return current
        # What is wrong with the file shall stop the start, not the first session.
        sessions.check()
    except StorageError as error:
        name = Settings.sessions_path.name
        raise ConfigurationError(name, str(path), str(error)) from error
    reset_sessions()
    _Current.sessions = sessions
    return sessions


def reset_sessions() -> None:
    """Forget the sessions of this process; what is stored stays."""
    sessions, _Current.sessions = _Current.sessions, None
    if sessions is not None:
        sessions.shut()


def _id_for(engine_id: Any) -> str:
    """Return the engine's id if it can be a header's value, else a new one."""
    text = engine_id if isinstance(engine_id, str) else json.dumps(engine_id)
    return text if engine_id is not None and is_session_id(text) else str(uuid.uuid4())


def _encode_key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"A key of a session is a string, not {key!r}.")
    return json.dumps(key)


def _encode(key: str, value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"The session's value of {key!r} is no JSON: {error}. Put strings, "
            "numbers, booleans, None, and lists and dicts of them."
        ) from None
