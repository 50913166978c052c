"""Sessions: values that handlers keep from one request to the next."""

from __future__ import annotations

import contextlib
import json
import math
import re
import threading
import time
import uuid
from typing import Any, Final

from ..exceptions import ConfigurationError, SessionNotFoundError, StorageError
from ..settings import Settings, read_settings
from ..storage.folder import default_parent
from .store import SessionFile
from .table import SessionStorage, SessionTable, StoredSession

MAX_ID_LENGTH: Final = 256
_ID: Final = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")


class Session:
    """A session, shared by all processes of the server.

    Its methods raise :class:`SessionNotFoundError` once it is closed or has expired;
    if a handler does not catch it, the client gets a 400. They raise
    :class:`StorageError` if the table cannot be read, or cannot be written within a
    second.
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
        """When the session expires, in Unix seconds."""
        return self._stored.expires

    @property
    def engine_id(self) -> Any:
        """The engine's id of the session, or ``session_id`` if the engine has none."""
        engine_id = self._stored.engine_id
        return self.session_id if engine_id is None else json.loads(engine_id)

    def put(self, key: str, value: Any) -> None:
        """Set a value, which must be representable in JSON. The change is atomic.

        Raises:
            TypeError: the key is not a string, or the value is not JSON.
        """
        store = self._sessions.store
        store.put(self.session_id, _encode_key(key), _encode(key, value))

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or ``default`` if it is not set."""
        value = self._sessions.store.get(self.session_id, _encode_key(key))
        return default if value is None else json.loads(value)

    def remove(self) -> None:
        """End the session, and delete its values."""
        self._sessions.close_session(self.session_id)


class SessionManager:
    """The sessions of a server. Thread-safe.

    Their storage is opened on first use, because SQLite connections must not be carried
    across a fork.

    Args:
        storage: where the sessions are stored.
        expiration_s: the lifetime of a session in seconds.
    """

    def __init__(self, storage: SessionStorage, expiration_s: int) -> None:
        self._storage = storage
        self._expiration_s = expiration_s
        self._opening = threading.Lock()
        self._store: SessionTable | None = None

    def create_session(self, engine_id: Any = None) -> Session:
        """Begin a session. ``engine_id`` is the engine's own id of it, if there is one.

        Raises:
            StorageError: it cannot be written.
        """
        encoded_id = None if engine_id is None else json.dumps(engine_id)
        session_id = _choose_id(engine_id)
        # Rounded up: clients are told whole seconds, and must not lose a part of one.
        expires = math.ceil(time.time() + self._expiration_s)
        self.store.create(session_id, expires, encoded_id)
        return Session(self, StoredSession(session_id, expires, encoded_id, -1))

    def get_session(self, session_id: str) -> Session:
        """Return a live session.

        Raises:
            SessionNotFoundError: the id is unknown, closed or expired.
        """
        return Session(self, self.store.find(_check_id(session_id)))

    def close_session(self, session_id: str) -> None:
        """End a session, and delete its values.

        Raises:
            SessionNotFoundError: the id is unknown, closed or expired.
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
                    store = self._store = self._storage.open()
        return store

    def is_equivalent(self, other: SessionManager) -> bool:
        """Return whether both use the same storage and expiration."""
        same_storage = self._storage == other._storage
        return same_storage and self._expiration_s == other._expiration_s

    @property
    def reads_block(self) -> bool:
        """Whether reading takes too long for an event loop."""
        return self._storage.reads_block

    def check(self) -> None:
        """Check that the storage can be used; it is opened and closed again.

        Raises:
            StorageError: it cannot be used.
        """
        with contextlib.closing(self._storage.open()) as store:
            store.check()

    def close(self) -> None:
        """Close the storage; the next use opens it again."""
        with self._opening:
            store, self._store = self._store, None
        if store is not None:
            store.close()


def is_session_id(value: object) -> bool:
    """Return whether the value matches SageMaker's format of session ids."""
    if not isinstance(value, str) or len(value) > MAX_ID_LENGTH:
        return False
    return _ID.fullmatch(value) is not None


def _check_id(session_id: str) -> str:
    if not is_session_id(session_id):
        # The value is not echoed: it may be long, and contain anything.
        raise SessionNotFoundError(
            f"an id is 1 to {MAX_ID_LENGTH} letters, digits and inner hyphens"
        )
    return session_id


class _Current:
    """The process-wide session manager; None while sessions are off."""

    sessions: SessionManager | None = None


def get_session_manager() -> SessionManager | None:
    """Return the session manager of this process; None if sessions are off.

    It exists once an app is bootstrapped, and all apps of the process share it.
    """
    return _Current.sessions


def init_session_manager_from_env() -> SessionManager | None:
    """Set up sessions from the environment, as ``bootstrap`` does. For tests.

    Raises:
        ConfigurationError: a variable has a value that is not allowed.
    """
    reset_sessions()
    settings = read_settings()
    return open_sessions(settings) if settings.sessions_enabled else None


def open_sessions(
    settings: Settings, storage: SessionStorage | None = None
) -> SessionManager:
    """Create the manager that :func:`get_session_manager` returns.

    Args:
        storage: where the sessions are stored; None: in a file of this machine.

    Raises:
        ConfigurationError: a variable has a value that is not allowed.
        StorageError: no folder is configured, and no default one is writable.
    """
    if storage is not None:
        return _set_current(SessionManager(storage, settings.sessions_expiration))
    path = settings.sessions_path or default_parent("sagemaker_sessions")
    try:
        file = SessionFile.in_folder(path)
        return _set_current(SessionManager(file, settings.sessions_expiration))
    except StorageError as error:
        name = Settings.sessions_path.name
        raise ConfigurationError(name, str(path), str(error)) from error


def _set_current(sessions: SessionManager) -> SessionManager:
    """Make a manager the current one, unless an equivalent one is.

    Raises:
        StorageError: its storage cannot be used.
    """
    current = _Current.sessions
    if current is not None and current.is_equivalent(sessions):
        return current
    # Unusable storage must fail the start, not the first session.
    sessions.check()
    reset_sessions()
    _Current.sessions = sessions
    return sessions


def reset_sessions() -> None:
    """Close and forget this process's manager; stored sessions are kept."""
    sessions, _Current.sessions = _Current.sessions, None
    if sessions is not None:
        sessions.close()


def _choose_id(engine_id: Any) -> str:
    """Return the engine's id if it is a valid session id, else a new one."""
    text = engine_id if isinstance(engine_id, str) else json.dumps(engine_id)
    return text if engine_id is not None and is_session_id(text) else str(uuid.uuid4())


def _encode_key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"A session's key must be a string, not {key!r}.")
    return json.dumps(key)


def _encode(key: str, value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"The session's value of {key!r} is not JSON: {error}. Use strings, "
            "numbers, booleans, None, and lists and dicts of them."
        ) from None
