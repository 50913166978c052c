"""A database that several processes read and write."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from model_hosting_container_standards.exceptions import StorageError
from model_hosting_container_standards.storage import Database
from other_process import Other

Start = Callable[..., Other]


ID: Final = 0x54455354
SCHEMA: Final = "CREATE TABLE numbers (number INTEGER)"


def open_database(path: Path) -> Database:
    return Database(path, ID, SCHEMA)


def add(database: Database, *numbers: int) -> None:
    for number in numbers:
        with database.write() as connection:
            connection.execute("INSERT INTO numbers VALUES (?)", [number])


def numbers(database: Database) -> list[int]:
    rows = database.read("SELECT number FROM numbers ORDER BY number")
    return [row["number"] for row in rows]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path / "x.sqlite3")
    yield database
    database.close()


def _write_many(path: Path, first: int, count: int) -> None:
    database = open_database(path)
    add(database, *range(first, first + count))
    database.close()


def test_concurrent_writers_lose_nothing(
    database: Database, start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "x.sqlite3"
    writers = [start(_write_many, path, first, 200) for first in (0, 200)]
    add(database, *range(400, 500))
    for other in writers:
        other.wait_until_done()
    assert numbers(database) == [*range(500)]


def test_concurrent_creators_share_one_database(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "new.sqlite3"
    creators = [start(_write_many, path, first, 1) for first in range(8)]
    for other in creators:
        other.wait_until_done()
    database = open_database(path)
    assert numbers(database) == [*range(8)]
    database.close()


def test_write_of_another_process_is_seen_and_changes_the_version(
    database: Database, start: Start, tmp_path: Path
) -> None:
    before = database.version()
    assert database.version() == before
    start(_write_many, tmp_path / "x.sqlite3", 1, 1).wait_until_done()
    assert database.version() != before
    assert database.version() % 2 == 0
    assert numbers(database) == [1]


def test_failed_transaction_is_rolled_back(database: Database) -> None:
    add(database, 1)

    def fail() -> None:
        with database.write() as connection:
            connection.execute("DELETE FROM numbers")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()
    assert numbers(database) == [1]
    add(database, 2)
    assert numbers(database) == [1, 2]


def test_statement_that_fails_is_a_storage_error(database: Database) -> None:
    def fail() -> None:
        with database.write() as connection:
            connection.execute("INSERT INTO numbers VALUES (1)")
            connection.execute("INSERT INTO nothing VALUES (1)")

    with pytest.raises(StorageError, match="x.sqlite3"):
        fail()
    assert numbers(database) == []


def test_readers_do_not_see_uncommitted_changes(
    database: Database, tmp_path: Path
) -> None:
    reader = open_database(tmp_path / "x.sqlite3")
    with database.write() as connection:
        connection.execute("INSERT INTO numbers VALUES (1)")
        assert numbers(database) == numbers(reader) == []
    assert numbers(database) == numbers(reader) == [1]
    reader.close()


def _die_within(path: Path, moment: str) -> None:
    database = open_database(path)
    counter: Any = vars(database)["_counter"]
    step = getattr(counter, moment)

    def die() -> None:
        if moment == "begin":
            step()
        os.kill(os.getpid(), 9)

    setattr(counter, moment, die)
    add(database, 7)


@pytest.mark.parametrize(("moment", "expected"), [("begin", []), ("end", [7])])
def test_readers_see_a_consistent_state_after_writer_is_killed(
    database: Database,
    start: Start,
    tmp_path: Path,
    moment: str,
    expected: list[int],
) -> None:
    before = database.version()
    dying = start(_die_within, tmp_path / "x.sqlite3", moment)
    with pytest.raises(EOFError):
        dying.wait_until_done()
    # An odd version tells readers to read again.
    assert database.version() != before
    assert database.version() % 2 == 1
    assert numbers(database) == expected
    add(database, 8)
    assert database.version() % 2 == 0
    assert numbers(database) == [*expected, 8]


def test_even_version_stays_valid_until_the_next_write(
    database: Database, tmp_path: Path
) -> None:
    """Also when a writer ends late and the next writer is killed then."""
    slow, reader = (open_database(tmp_path / "x.sqlite3") for _ in range(2))
    slow_counter, next_counter = (vars(d)["_counter"] for d in (slow, database))
    end, begin, seen = slow_counter.end, next_counter.begin, []
    begun, ended = threading.Event(), threading.Event()
    writing = threading.Thread(target=add, args=(database, 2))

    def end_late() -> None:
        writing.start()
        begun.wait(0.5)  # Times out where the next writer still waits.
        end()
        seen.append((reader.version(), numbers(reader)))
        ended.set()

    def begin_early() -> None:
        begin()
        begun.set()
        ended.wait()

    slow_counter.end = end_late
    next_counter.begin = begin_early
    next_counter.end = lambda: None  # Killed before it ends.
    add(slow, 1)
    writing.join()
    [(version, found)] = seen
    must_read_again = version % 2 == 1 or reader.version() != version
    assert must_read_again or numbers(reader) == found
    for opened in (slow, reader):
        opened.close()


def _foreign_table(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE foreign_table (x)")
    connection.commit()
    connection.close()


def _foreign_id(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA application_id = 7")
    connection.commit()
    connection.close()


def _foreign_bytes(path: Path) -> None:
    path.write_bytes(b"This is a letter, not a database." * 100)


def _short_bytes(path: Path) -> None:
    path.write_bytes(b"hi")


@pytest.mark.parametrize(
    "write", [_foreign_table, _foreign_id, _foreign_bytes, _short_bytes]
)
def test_foreign_file_is_left_unchanged(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    path = tmp_path / "foreign.sqlite3"
    write(path)
    path.chmod(0o644)
    before = path.read_bytes()
    with pytest.raises(StorageError, match=str(path)):
        open_database(path)
    assert path.read_bytes() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_missing_folder_is_a_storage_error(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "x.sqlite3"
    with pytest.raises(StorageError, match=str(path)):
        open_database(path)


def test_only_the_owner_can_access_a_database(
    database: Database, tmp_path: Path
) -> None:
    mode = stat.S_IMODE((tmp_path / "x.sqlite3").stat().st_mode)
    assert mode == 0o600


def test_data_persists_when_the_database_is_reopened(
    database: Database, tmp_path: Path
) -> None:
    add(database, 1, 2)
    again = open_database(tmp_path / "x.sqlite3")
    assert numbers(again) == [1, 2]
    assert again.version() == database.version()
    again.close()
