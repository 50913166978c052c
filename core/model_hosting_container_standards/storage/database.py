"""A SQLite file that several processes read and write."""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from ..exceptions import StorageError
from .change_counter import ChangeCounter

#: How long a writer waits for the others, unless it is told otherwise.
_BUSY_S: Final = 10.0
#: Bytes that SQLite keeps of a log it has written back.
_LOG_LIMIT: Final = 1 << 20
_POLL_S: Final = 0.001


class Database:
    """An open SQLite database, and a counter of its changes.

    ``application_id`` is what SQLite writes into the file's header: a file with another
    one is not ours, and is left alone. Any thread may use it. ``busy_s`` is how many
    seconds a writer waits for the others.

    Raises:
        StorageError: the file is not ours, or cannot be used.
    """

    def __init__(
        self, path: Path, application_id: int, schema: str, busy_s: float = _BUSY_S
    ) -> None:
        self._path = path
        self._busy_s = busy_s
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        with contextlib.ExitStack() as opened:
            try:
                self._open(opened, application_id, schema)
            except (sqlite3.Error, OSError) as error:
                raise StorageError(
                    f"{path} cannot be used: {error}. Remove it, or make room for it."
                ) from error
            self._opened = opened.pop_all()

    def _open(
        self, opened: contextlib.ExitStack, application_id: int, schema: str
    ) -> None:
        path = self._path
        # SQLite's own lock is free before the counter has been told of a change.
        self._writing = opened.enter_context(path.with_suffix(".lock").open("w"))
        self._connection = opened.enter_context(
            contextlib.closing(_connect(path, self._busy_s))
        )
        # What is written outlives the process, which is all that is promised.
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT}")
        self._prepare(application_id, schema)
        # Of its own: who reads must not wait for a thread that writes.
        self._reader = opened.enter_context(
            contextlib.closing(_connect(path, self._busy_s))
        )
        path.chmod(0o600)
        counter = ChangeCounter(path.with_suffix(".changes"))
        self._counter = opened.enter_context(contextlib.closing(counter))

    def version(self) -> int:
        """Return a number that differs from the last one if anything has changed.

        An odd one tells that a change is under way: read again next time.
        """
        return self._counter.read()

    def read(self, statement: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return what a SELECT finds. Never waits for a writer.

        Raises:
            StorageError: the file cannot be read.
        """
        try:
            with self._reading:
                return self._reader.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise StorageError(f"{self._path} cannot be read: {error}.") from error

    @contextmanager
    def write(self, *, visible: bool = True) -> Iterator[sqlite3.Connection]:
        """Make changes that become visible all at once, or not at all.

        Those that are not ``visible`` are no reason for a reader to read again.

        Raises:
            StorageError: they cannot be written.
        """
        try:
            with (
                _held(self._lock, self._busy_s) as left_s,
                _exclusive(self._writing, left_s),
            ):
                yield from self._transaction(visible)
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"{self._path} cannot be written: {error}.") from error

    def close(self) -> None:
        with self._lock, self._reading:
            self._opened.close()

    def _transaction(self, visible: bool) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            if visible:
                self._counter.begin()
            self._connection.execute("COMMIT")
        except BaseException:
            # Never the counter's end: an odd number only costs readers time.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        if visible:
            self._counter.end()

    def _prepare(self, application_id: int, schema: str) -> None:
        with _exclusive(self._writing, self._busy_s):
            (found,) = self._connection.execute("PRAGMA application_id").fetchone()
            # Also a look at whether the file is whole.
            tables = self._connection.execute("SELECT 1 FROM sqlite_master").fetchone()
            if found == application_id and tables:
                return
            if found or tables:
                raise StorageError(
                    f"{self._path} is somebody else's database: choose another folder."
                )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.executescript(
                f"BEGIN; {schema}; PRAGMA application_id = {application_id}; COMMIT"
            )


def _connect(path: Path, busy_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=busy_s, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    return connection


@contextmanager
def _held(lock: threading.Lock, busy_s: float) -> Iterator[float]:
    """Hold a lock of this process; yields how many of the seconds are left.

    Raises:
        TimeoutError: another thread does not let go of it.
    """
    begin = time.monotonic()
    if not lock.acquire(timeout=busy_s):
        raise TimeoutError(f"other threads have waited for it for {busy_s:g} s")
    try:
        yield max(0.0, busy_s - (time.monotonic() - begin))
    finally:
        lock.release()


@contextmanager
def _exclusive(file: IO[str], busy_s: float) -> Iterator[None]:
    """Be the only process that has locked ``file``.

    Raises:
        TimeoutError: another one does not let go of it.
    """
    deadline = time.monotonic() + busy_s
    while not _try_lock(file):
        if time.monotonic() > deadline:
            raise TimeoutError(f"another process has locked it for {busy_s:.1f} s")
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
