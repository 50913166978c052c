"""A SQLite file that several processes read and write."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ...exceptions import StorageError
from .counter import ChangeCounter

#: How long a writer waits for the others.
_BUSY_S: Final = 10.0


class Database:
    """An open SQLite database, and a counter of its changes.

    ``application_id`` is what SQLite writes into the file's header: a file with another
    one is not ours, and is left alone. Any thread may write.

    Raises:
        StorageError: the file is not ours, or cannot be used.
    """

    def __init__(self, path: Path, application_id: int, schema: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._connection = _connect(path)
            self._prepare(application_id, schema)
            # Of its own: who reads must not wait for a thread that writes.
            self._reader = _connect(path)
            # What is written outlives the process, which is all that is promised.
            self._connection.execute("PRAGMA synchronous = OFF")
            path.chmod(0o600)
            self._counter = ChangeCounter(path.with_suffix(".changes"))
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"{path} cannot be used: {error}. Remove it, or make room for it."
            ) from error

    def version(self) -> int:
        """Return a number that differs from the last one if anything has changed.

        An odd one tells that a change is under way: read again next time.
        """
        return self._counter.read()

    def read(self, statement: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return what a SELECT finds. Never waits for a writer.

        For one thread at a time.
        """
        return self._reader.execute(statement, values).fetchall()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Make changes that become visible all at once, or not at all.

        Raises:
            StorageError: they cannot be written.
        """
        with self._lock:
            try:
                yield from self._transaction()
            except sqlite3.Error as error:
                raise StorageError(
                    f"{self._path} cannot be written: {error}."
                ) from error

    def close(self) -> None:
        with self._lock:
            self._connection.close()
            self._reader.close()
            self._counter.close()

    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._counter.begin()
            self._connection.execute("COMMIT")
        except BaseException:
            # Never the counter's end: an odd number only costs readers time.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._counter.end()

    def _prepare(self, application_id: int, schema: str) -> None:
        with _first_come(self._path.with_suffix(".lock")):
            (found,) = self._connection.execute("PRAGMA application_id").fetchone()
            if found == application_id:
                return
            if self._connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                raise StorageError(
                    f"{self._path} is somebody else's database: choose another folder."
                )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.executescript(
                f"BEGIN; {schema}; PRAGMA application_id = {application_id}; COMMIT"
            )


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    return connection


@contextmanager
def _first_come(path: Path) -> Iterator[None]:
    """Let one process at a time make a database: SQLite itself would not wait."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
