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

#: Seconds that a writer waits for others, by default.
_BUSY_S: Final = 10.0
#: Bytes to which SQLite truncates its log after a checkpoint.
_LOG_LIMIT: Final = 1 << 20
_POLL_S: Final = 0.001


class Database:
    """An open SQLite database, and a counter of its changes. Thread-safe.

    Args:
        path: the file; it is created if it does not exist.
        application_id: SQLite's application id in the file's header. A file with
            another id belongs to another program, and is not touched.
        schema: SQL that creates the tables.
        busy_s: seconds that a writer waits for others.

    Raises:
        StorageError: the file belongs to another program, or cannot be used.
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
                    f"{path} cannot be used: {error}. Remove it, or free disk space."
                ) from error
            self._opened = opened.pop_all()

    def _open(
        self, opened: contextlib.ExitStack, application_id: int, schema: str
    ) -> None:
        path = self._path
        # SQLite releases its own lock before the counter is updated.
        self._writing = opened.enter_context(path.with_suffix(".lock").open("w"))
        self._connection = opened.enter_context(
            contextlib.closing(_connect(path, self._busy_s))
        )
        # State must survive the process, but not the machine.
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT}")
        self._prepare(application_id, schema)
        # A separate connection, so that readers never wait for a thread that writes.
        self._reader = opened.enter_context(
            contextlib.closing(_connect(path, self._busy_s))
        )
        path.chmod(0o600)
        counter = ChangeCounter(path.with_suffix(".changes"))
        self._counter = opened.enter_context(contextlib.closing(counter))

    def version(self) -> int:
        """Return a number that changes with every visible change.

        An odd number means that a change is being written: do not cache what is read.
        """
        return self._counter.read()

    def read(self, statement: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return the rows of a SELECT. Never waits for a writer.

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
        """Run a transaction, which is rolled back if the block raises.

        With ``visible=False`` the change counter stays, and caches remain valid.

        Raises:
            StorageError: the changes cannot be written.
        """
        try:
            with (
                _held(self._lock, self._busy_s) as remaining_s,
                _exclusive(self._writing, remaining_s),
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
            # The counter may stay odd: that only disables caching until the next write.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        if visible:
            self._counter.end()

    def _prepare(self, application_id: int, schema: str) -> None:
        with _exclusive(self._writing, self._busy_s):
            (existing,) = self._connection.execute("PRAGMA application_id").fetchone()
            # This also fails if the file is damaged.
            tables = self._connection.execute("SELECT 1 FROM sqlite_master").fetchone()
            if existing == application_id and tables:
                return
            if existing or tables:
                raise StorageError(
                    f"{self._path} is a database of another program: choose another "
                    "folder."
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
    """Hold a lock of this process; yields the remaining seconds of ``busy_s``.

    Raises:
        TimeoutError: another thread has held it for ``busy_s`` seconds.
    """
    begin = time.monotonic()
    if not lock.acquire(timeout=busy_s):
        raise TimeoutError(f"other threads have used it for {busy_s:g} s")
    try:
        yield max(0.0, busy_s - (time.monotonic() - begin))
    finally:
        lock.release()


@contextmanager
def _exclusive(file: IO[str], busy_s: float) -> Iterator[None]:
    """Hold an exclusive lock on ``file`` between processes.

    Raises:
        TimeoutError: another process has held it for ``busy_s`` seconds.
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
