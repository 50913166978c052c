"""The table of sessions, on one machine and on several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from cluster import MemoryJournal
from model_hosting_container_standards.cluster import session_table
from model_hosting_container_standards.cluster.session_table import JournaledSessions
from model_hosting_container_standards.exceptions import (
    SessionNotFoundError,
    StorageError,
)
from model_hosting_container_standards.sessions.store import SessionStore
from model_hosting_container_standards.sessions.table import SessionTable
from session_client import Clock

#: The lifetime of these tests' sessions in seconds.
LIFE: Final = 100


class Opened:
    """An open table, which can be closed and opened again."""

    def __init__(self, open_table: Callable[[], SessionTable], clock: Clock) -> None:
        self._open = open_table
        self._clock = clock
        self.table = open_table()

    def reload(self) -> SessionTable:
        self.table.close()
        self.table = self._open()
        return self.table

    def now_and_later(self) -> Iterator[SessionTable]:
        yield self.table
        yield self.reload()

    def create(self, session_id: str = "a", engine_id: str | None = None) -> int:
        expires = int(self._clock.now) + LIFE
        self.table.create(session_id, expires, engine_id)
        return expires


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(monkeypatch)
    monkeypatch.setattr(session_table, "time", clock)
    return clock


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture(params=["sqlite", "journal"])
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, journal: MemoryJournal, clock: Clock
) -> Iterator[Opened]:
    opened = Opened(
        (lambda: SessionStore(tmp_path / "sessions.sqlite3"))
        if request.param == "sqlite"
        else (lambda: JournaledSessions(journal)),
        clock,
    )
    yield opened
    opened.table.close()


@pytest.fixture
def journaled(journal: MemoryJournal, clock: Clock) -> Opened:
    return Opened(lambda: JournaledSessions(journal), clock)


def check_not_found(table: SessionTable, session_id: str) -> None:
    for use in (
        lambda: table.find(session_id),
        lambda: table.put(session_id, "name", "1"),
        lambda: table.get(session_id, "name"),
    ):
        with pytest.raises(SessionNotFoundError, match=session_id):
            use()
    assert not table.end(session_id)


# --- one session ----------------------------------------------------------------------


@pytest.mark.parametrize("engine_id", [None, '"its"', "7"])
def test_session_is_found(opened: Opened, engine_id: str | None) -> None:
    expires = opened.create("a", engine_id)
    for table in opened.now_and_later():
        found = table.find("a")
        assert (found.id, found.expires, found.engine_id) == ("a", expires, engine_id)
        table.check()


def test_unknown_session_is_not_found(opened: Opened) -> None:
    opened.create("a")
    check_not_found(opened.table, "b")


def test_values_are_kept(opened: Opened) -> None:
    opened.create()
    assert opened.table.get("a", '"x"') is None
    for value in ("1", "[2]"):
        opened.table.put("a", '"x"', value)
    opened.table.put("a", '""', '"caf\\u00e9"')
    for table in opened.now_and_later():
        assert table.get("a", '"x"') == "[2]"
        assert table.get("a", '""') == '"caf\\u00e9"'
        assert table.get("a", "") is None


def test_ended_session_is_not_found(opened: Opened) -> None:
    opened.create()
    opened.table.put("a", "x", "1")
    assert opened.table.end("a")
    for table in opened.now_and_later():
        check_not_found(table, "a")


def test_expired_session_is_not_found(opened: Opened, clock: Clock) -> None:
    clock.now = opened.create() - 0.001
    opened.table.put("a", "x", "1")
    clock.now += 0.001
    for table in opened.now_and_later():
        check_not_found(table, "a")


@pytest.mark.parametrize("end", [True, False])
def test_session_is_replaced(opened: Opened, clock: Clock, end: bool) -> None:
    first = opened.create("a", "1")
    opened.table.put("a", "x", "1")
    clock.now += LIFE / 2
    if end:
        opened.table.end("a")
    second = opened.create("a", "2")
    clock.now = first
    for table in opened.now_and_later():
        assert (table.find("a").expires, table.find("a").engine_id) == (second, "2")
        assert table.get("a", "x") is None
        table.put("a", "y", "2")
    clock.now = second
    check_not_found(opened.table, "a")


def test_sessions_of_one_second_are_separate(opened: Opened) -> None:
    for name in ("a", "b"):
        opened.create(name)
        opened.table.put(name, "x", name)
    opened.create("a")  # It replaces the first one, and expires in the same second.
    assert opened.table.end("b")
    assert opened.table.find("a").id == "a"
    assert opened.table.get("a", "x") is None


def test_threads_do_not_lose_values(opened: Opened) -> None:
    opened.create()

    def work(number: int) -> None:
        opened.create(f"s{number}")
        opened.table.put("a", str(number), str(number))
        assert opened.table.get("a", str(number)) == str(number)
        assert opened.table.end(f"s{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(100)))
    table = opened.reload()
    assert [table.get("a", str(number)) for number in range(100)] == [
        str(number) for number in range(100)
    ]


# --- the journal ----------------------------------------------------------------------


def test_ended_sessions_leave_the_journal(
    journaled: Opened, journal: MemoryJournal, clock: Clock
) -> None:
    for number in range(100):
        journaled.create(f"s{number}")
    assert journaled.table.end("s0")
    assert len(journal.stored) == 99
    clock.now += LIFE
    for number in range(100):
        journaled.create(f"t{number}")
    assert {*journal.stored} == {f"session/t{number}" for number in range(100)}


def test_ended_sessions_leave_the_memory(journaled: Opened) -> None:
    for _ in range(5_000):
        journaled.create("a")
        journaled.create("b")
        journaled.table.end("b")
    assert isinstance(journaled.table, JournaledSessions)
    assert len(journaled.table._by_expiry) < 2_000
    assert journaled.table.find("a").id == "a"


def test_replaced_session_is_not_deleted_with_the_first(
    journaled: Opened, clock: Clock
) -> None:
    first = journaled.create("a")
    clock.now += 1
    journaled.create("a")
    clock.now = first
    journaled.create("b")  # Deletes what has expired.
    assert journaled.table.find("a").expires > first


OPERATIONS: Final[dict[str, Callable[[SessionTable], Any]]] = {
    "create": lambda table: table.create("new", 2_000_000_000, None),
    "replace": lambda table: table.create("a", 2_000_000_000, None),
    "end": lambda table: table.end("a"),
    "put": lambda table: table.put("a", "x", "2"),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_change_whose_write_fails_does_not_happen(
    journaled: Opened,
    journal: MemoryJournal,
    operation: Callable[[SessionTable], Any],
) -> None:
    expires = journaled.create()
    journaled.table.put("a", "x", "1")
    stored = dict(journal.stored)
    journal.fail_always()
    with pytest.raises(StorageError):
        operation(journaled.table)
    assert journaled.table.find("a").expires == expires
    assert journaled.table.get("a", "x") == "1"
    check_unknown(journaled.table, "new")
    assert journal.stored == stored
    journal.heal()
    operation(journaled.table)
    assert journal.stored != stored


def check_unknown(table: SessionTable, session_id: str) -> None:
    with pytest.raises(SessionNotFoundError):
        table.find(session_id)


def test_expired_session_is_deleted_later_if_the_journal_fails(
    journaled: Opened, journal: MemoryJournal, clock: Clock
) -> None:
    clock.now = journaled.create()
    journal.fail(0)
    with pytest.raises(StorageError):
        journaled.create("b")
    journaled.create("b")
    assert [*journal.stored] == ["session/b"]
