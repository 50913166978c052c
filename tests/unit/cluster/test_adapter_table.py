"""The table of adapters, on one machine and on several."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from cluster import MemoryJournal
from model_hosting_container_standards.adapters.adapter import Adapter, AdapterSpec
from model_hosting_container_standards.adapters.store import AdapterStore
from model_hosting_container_standards.adapters.table import FIRST_ID, AdapterTable
from model_hosting_container_standards.cluster.adapter_table import JournaledAdapters
from model_hosting_container_standards.exceptions import (
    AdapterCapacityError,
    AdapterNotFoundError,
    StorageError,
)


class Opened:
    """An open table, which can be closed and opened again."""

    def __init__(self, open_table: Callable[[], AdapterTable]) -> None:
        self._open = open_table
        self.table = open_table()

    def reload(self) -> AdapterTable:
        self.table.close()
        self.table = self._open()
        return self.table


@pytest.fixture(params=["sqlite", "journal"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    journal = MemoryJournal()
    opened = Opened(
        (lambda: AdapterStore(tmp_path / "adapters.sqlite3"))
        if request.param == "sqlite"
        else (lambda: JournaledAdapters(journal, _nothing))
    )
    yield opened
    opened.table.close()


@pytest.fixture
def table(opened: Opened) -> AdapterTable:
    return opened.table


def _nothing() -> None:
    """Ignore a change."""


def accept(pinned: int, others: int) -> None:
    """Accept any numbers."""


def refuse(pinned: int, others: int) -> None:
    raise AdapterCapacityError(f"{pinned} pinned, {others} others")


def reserve(table: AdapterTable, name: str = "a", **fields: Any) -> Adapter:
    by_handler = fields.pop("by_handler", False)
    spec = AdapterSpec(name, f"src of {name}", **fields)
    return table.reserve(spec, f"path of {name}", by_handler, accept)


def add(table: AdapterTable, name: str = "a", **fields: Any) -> Adapter:
    table.complete(reserve(table, name, **fields), loaded=True)
    return table.get(name)


def contents(table: AdapterTable) -> Any:
    """Return all that a table has, in a form that can be compared."""
    rows = sorted(table.rows(), key=lambda row: row.id)
    return rows, dict(table.view()), list(table.view()), table.registrations


# --- reading and writing --------------------------------------------------------------


def test_empty_table(table: AdapterTable) -> None:
    assert contents(table) == ([], {}, [], 0)
    assert table.rows_of("a") == []
    assert table.drain("a") is None
    with pytest.raises(AdapterNotFoundError, match="'a' does not exist"):
        table.get("a")


def test_reserved_adapter_is_not_visible(table: AdapterTable) -> None:
    adapter = reserve(table, pin=True, preload=False, options={"x": [1, None]})
    assert table.view() == {}
    assert table.rows() == table.rows_of("a") == [adapter]
    assert table.has(adapter.id)
    assert not table.has(adapter.id + 1)
    assert (adapter.state, adapter.loaded, adapter.reason) == ("loading", False, None)
    assert (adapter.name, adapter.src, adapter.path) == ("a", "src of a", "path of a")
    assert (adapter.pin, adapter.preload, adapter.by_handler) == (True, False, False)
    assert adapter.options == {"x": [1, None]}


@pytest.mark.parametrize("loaded", [True, False])
def test_completed_adapter_is_visible(table: AdapterTable, loaded: bool) -> None:
    adapter = reserve(table)
    assert table.complete(adapter, loaded=loaded) is None
    found = table.get("a")
    assert (found.id, found.state, found.loaded) == (adapter.id, "ready", loaded)
    assert table.view() == {"a": found}
    assert table.rows() == [found]


def test_completion_keeps_what_was_changed_meanwhile(table: AdapterTable) -> None:
    adapter = reserve(table)
    table.change(adapter, engine_id="7")
    table.complete(adapter, loaded=True)
    assert table.get("a").engine_id == "7"


def test_replaced_adapter_is_draining(table: AdapterTable) -> None:
    old, new = add(table), reserve(table)
    assert table.get("a") == old
    replaced = table.complete(new, loaded=True)
    assert replaced is not None
    assert replaced.id == old.id
    assert table.get("a").id == new.id
    states = {row.id: row.state for row in table.rows_of("a")}
    assert states == {old.id: "draining", new.id: "ready"}


def test_failed_adapter_is_replaced(table: AdapterTable) -> None:
    old = add(table)
    table.fail(old, "broken")
    replaced = table.complete(reserve(table), loaded=True)
    assert replaced is not None
    assert replaced.id == old.id


def test_drained_adapter_is_hidden(table: AdapterTable) -> None:
    adapter, other = add(table), add(table, "b")
    drained = table.drain("a")
    assert drained is not None
    assert drained.id == adapter.id
    assert table.view() == {"b": other}
    (row,) = table.rows_of("a")
    assert (row.id, row.state) == (adapter.id, "draining")
    assert table.has(adapter.id)
    assert table.drain("a") is None


def test_discarded_adapter_is_gone(table: AdapterTable) -> None:
    adapter = add(table)
    new = add(table)
    table.discard(adapter.id)
    table.discard(adapter.id)
    assert not table.has(adapter.id)
    assert table.rows() == [new]
    assert table.get("a") == new


def test_change_of_a_registered_adapter(table: AdapterTable) -> None:
    adapter = add(table)
    changed = table.change(adapter, pin=True, preload=False, loaded=False)
    assert (changed.pin, changed.preload, changed.loaded) == (True, False, False)
    assert table.get("a") == changed
    # The argument only says which adapter it is.
    assert table.change(adapter, loaded=True).pin


def test_change_of_a_discarded_adapter_is_an_error(table: AdapterTable) -> None:
    adapter = add(table)
    table.discard(adapter.id)
    add(table)
    with pytest.raises(AdapterNotFoundError, match="in the meantime"):
        table.change(adapter, pin=True)


def test_failed_adapter_stays_visible(table: AdapterTable) -> None:
    table.fail(add(table), "broken")
    found = table.get("a")
    assert (found.state, found.loaded, found.reason) == ("failed", False, "broken")
    table.change(found, state="ready", reason=None)
    assert table.get("a").answers


def test_unload_all(table: AdapterTable) -> None:
    table.change(add(table, "a"), engine_id="7")
    add(table, "b")
    table.complete(reserve(table, "c"), loaded=False)
    table.unload_all()
    assert [row.loaded for row in table.view().values()] == [False] * 3
    assert [row.engine_id for row in table.rows()] == [None] * 3


# --- the view -------------------------------------------------------------------------


def test_view_is_sorted_and_the_same_until_a_change(table: AdapterTable) -> None:
    for name in ("b", "c", "a", "B"):
        add(table, name)
    view = table.view()
    assert list(view) == ["B", "a", "b", "c"]
    assert table.view() is view
    add(table, "aa")
    assert list(view) == ["B", "a", "b", "c"]
    assert list(table.view()) == ["B", "a", "aa", "b", "c"]


def test_view_has_every_change(table: AdapterTable) -> None:
    changes: list[Callable[[], Any]] = [
        lambda: add(table),
        lambda: table.change(table.get("a"), pin=True),
        lambda: table.fail(table.get("a"), "broken"),
        lambda: add(table),
        lambda: table.drain("a"),
    ]
    seen = []
    for change in changes:
        change()
        seen.append([(row.state, row.pin) for row in table.view().values()])
    ready, failed = ("ready", False), ("failed", True)
    assert seen == [[ready], [("ready", True)], [failed], [ready], []]


# --- ids ------------------------------------------------------------------------------


def test_ids_and_engine_names_are_never_reused(opened: Opened) -> None:
    ids, engine_names = [], set()
    for _ in range(3):
        for name in ("a", "a#1", f"a#{FIRST_ID + 3}", "a"):
            adapter = add(opened.table, name)
            ids.append(adapter.id)
            engine_names.add(adapter.engine_name)
        for row in opened.table.rows():
            opened.table.discard(row.id)
        opened.reload()
    assert ids == sorted(set(ids))
    assert min(ids) >= FIRST_ID
    assert len(engine_names) == len(ids)


def test_registrations_are_counted(opened: Opened) -> None:
    for _ in range(3):
        add(opened.table)
    opened.table.view()
    assert opened.table.registrations == 3
    table = opened.reload()
    table.view()
    assert table.registrations == 3


# --- checks ---------------------------------------------------------------------------


def counts(table: AdapterTable) -> tuple[int, int]:
    """Return the numbers with which a check is called, without the new adapter."""
    found: list[tuple[int, int]] = []

    def check(pinned: int, others: int) -> None:
        found.append((pinned, others - 1))
        raise AdapterCapacityError("only asked")

    with pytest.raises(AdapterCapacityError):
        table.reserve(AdapterSpec("new", "src"), "path", False, check)
    return found[0]


def test_counts_of_a_check(opened: Opened) -> None:
    table = opened.table
    assert counts(table) == (0, 0)
    reserve(table, "loading")
    reserve(table, "pinned", pin=True)
    add(table, "ready", pin=True)
    add(table, "handler", by_handler=True)
    add(table, "draining")
    table.drain("draining")
    assert counts(table) == (2, 2)
    assert counts(opened.reload()) == (2, 2)
    table = opened.table
    table.fail(add(table, "failed"), "broken")
    assert counts(table) == (2, 2)
    table.change(table.get("ready"), pin=False)
    assert counts(table) == (1, 3)
    for row in table.rows():
        table.discard(row.id)
    assert counts(table) == (0, 0)


def test_refused_reservation_leaves_nothing(table: AdapterTable) -> None:
    add(table)
    before = contents(table)
    with pytest.raises(AdapterCapacityError, match="1 pinned, 1 others"):
        table.reserve(AdapterSpec("b", "src", pin=True), "path", False, refuse)
    assert contents(table) == before


def test_refused_change_leaves_the_adapter(table: AdapterTable) -> None:
    adapter = add(table)
    before = contents(table)
    with pytest.raises(AdapterCapacityError, match="1 pinned, 0 others"):
        table.change(adapter, refuse, pin=True)
    assert contents(table) == before


# --- bundled adapters -----------------------------------------------------------------


def bundled(*names: str) -> list[tuple[AdapterSpec, str]]:
    return [(AdapterSpec(name, f"src of {name}"), f"path of {name}") for name in names]


def test_bundled_adapters_are_registered_once(opened: Opened) -> None:
    add(opened.table, "b")
    assert opened.table.add_bundled(bundled("a", "b")) == ["a"]
    assert opened.table.get("a").answers
    assert not opened.table.get("a").loaded
    for name in ("a", "b"):
        opened.table.drain(name)
    assert opened.table.add_bundled(bundled("a", "b", "c")) == ["c"]
    assert opened.reload().add_bundled(bundled("a", "b", "c")) == []
    assert list(opened.table.view()) == ["c"]


# --- a restart ------------------------------------------------------------------------

NAMES: Final = ("a", "b/c", " ", "a\tb", "'; --", "caf\u00e9 \U0001f600", "k" * 256)


def test_everything_is_kept(opened: Opened) -> None:
    table = opened.table
    for name in NAMES:
        add(table, name, pin=name == "a", options={"name": name, "n": 1.5})
    table.change(table.get("a"), engine_id="7", preload=False)
    table.fail(table.get("b/c"), "caf\u00e9")
    add(table, " ")  # Replaces it.
    table.drain("'; --")
    reserve(table, "loading", by_handler=True)
    before = contents(table)
    assert contents(opened.reload()) == before


def test_threads_do_not_lose_updates(opened: Opened) -> None:
    names = [f"{number:03}" for number in range(100)]

    def work(name: str) -> int:
        adapter = add(opened.table, name)
        assert name in opened.table.view()
        opened.table.change(adapter, pin=True)
        replacement = add(opened.table, name)
        assert opened.table.has(replacement.id)
        opened.table.discard(adapter.id)
        return replacement.id

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(work, names))
    assert len(set(ids)) == len(names)
    assert [row.id for row in opened.table.view().values()] == ids
    assert contents(opened.reload()) == contents(opened.table)


# --- the journal ----------------------------------------------------------------------


class Changes:
    """A table with a journal, and the number of changes that it has announced."""

    def __init__(self) -> None:
        self.journal = MemoryJournal()
        self.announced = 0
        self.table = JournaledAdapters(self.journal, self._count)

    def _count(self) -> None:
        self.announced += 1


@pytest.fixture
def changes() -> Changes:
    return Changes()


OPERATIONS: Final[dict[str, Callable[[JournaledAdapters], Any]]] = {
    "reserve": lambda table: reserve(table, "new"),
    "complete": lambda table: table.complete(table.rows_of("b")[0], loaded=True),
    "replace": lambda table: table.complete(table.rows_of("a")[-1], loaded=True),
    "drain": lambda table: table.drain("a"),
    "discard": lambda table: table.discard(table.get("a").id),
    "discard one of two": lambda table: table.discard(table.rows_of("b")[0].id),
    "change": lambda table: table.change(table.get("a"), pin=True),
    "fail": lambda table: table.fail(table.get("a"), "broken"),
    "add_bundled": lambda table: table.add_bundled(bundled("new")),
    "unload_all": lambda table: table.unload_all(),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_change_whose_write_fails_does_not_happen(
    changes: Changes, operation: Callable[[JournaledAdapters], Any]
) -> None:
    table, journal = changes.table, changes.journal
    add(table)
    reserve(table)
    reserve(table, "b")
    reserve(table, "b")
    before, stored, announced = contents(table), dict(journal.stored), changes.announced
    journal.fail_always()
    with pytest.raises(StorageError):
        operation(table)
    *found, registrations = contents(table)
    assert (found, journal.stored) == ([*before[:-1]], stored)
    # An id is used up: the journal may have stored its adapter all the same.
    assert registrations - before[-1] in (0, 1)
    assert changes.announced == announced
    journal.heal()
    operation(table)
    assert contents(table) != before
    assert contents(JournaledAdapters(journal, _nothing)) == contents(table)


def test_id_is_not_used_again_after_a_failed_write(changes: Changes) -> None:
    first = reserve(changes.table, "a")
    changes.journal.fail(0)
    with pytest.raises(StorageError):
        reserve(changes.table, "b")
    assert reserve(changes.table, "c").id == first.id + 2
    assert reserve(JournaledAdapters(changes.journal, _nothing)).id == first.id + 3


def test_id_is_not_used_again_after_its_adapter_was_removed(changes: Changes) -> None:
    ids = [reserve(changes.table, name).id for name in "ab"]
    changes.table.discard(ids[1])
    assert reserve(JournaledAdapters(changes.journal, _nothing)).id == ids[1] + 1


def test_registration_is_two_writes(changes: Changes) -> None:
    """A cluster waits for each."""
    changes.journal.fail(2)
    changes.table.complete(reserve(changes.table), loaded=True)
    with pytest.raises(StorageError):
        changes.table.drain("a")


def test_replacement_is_one_write(changes: Changes) -> None:
    """Else a coordinator that dies in between would have both, or neither."""
    add(changes.table)
    new = reserve(changes.table)
    changes.journal.fail(1)
    changes.table.complete(new, loaded=True)
    with pytest.raises(StorageError):
        changes.table.drain("a")


def test_bundled_adapters_before_a_failed_write_are_kept(changes: Changes) -> None:
    found = bundled("a", "b")
    changes.journal.fail(2)  # The adapter a, that it was bundled, and b.
    with pytest.raises(StorageError):
        changes.table.add_bundled(found)
    assert list(changes.table.view()) == ["a"]
    assert changes.table.add_bundled(found) == ["b"]


def test_changes_since_a_version(changes: Changes) -> None:
    table = changes.table
    start = table.version
    assert table.changes_since(start) == {}
    reserve(table, "hidden")
    assert table.changes_since(start) == {}
    a, b = add(table, "a"), add(table, "b")
    assert table.changes_since(start) == {"a": a, "b": b}
    middle = table.version
    table.drain("a")
    changed = table.change(b, pin=True)
    assert table.changes_since(start) == {"a": None, "b": changed}
    assert table.changes_since(middle) == {"a": None, "b": changed}
    assert changes.announced == table.version - start == 4


def test_version_stays_without_a_visible_change(changes: Changes) -> None:
    table = changes.table
    adapter = add(table)
    version = table.version
    table.change(adapter, pin=False)
    table.discard(reserve(table).id)
    table.add_bundled(bundled("a"))
    assert table.version == version


@pytest.mark.parametrize("version", [-1, 0, 5_000])
def test_changes_since_an_unknown_version(changes: Changes, version: int) -> None:
    adapter = add(changes.table)
    for number in range(2_000):
        changes.table.change(adapter, pin=number % 2 == 0)
    assert changes.table.changes_since(version) is None
    assert changes.table.changes_since(changes.table.version - 1000) is not None


class StuckJournal(MemoryJournal):
    """A journal whose writes take until the test lets them end."""

    def __init__(self) -> None:
        super().__init__()
        self.is_writing = threading.Event()
        self.may_end = threading.Event()

    def put(self, key: str, value: bytes) -> None:
        super().put(key, value)
        self.is_writing.set()
        assert self.may_end.wait(10)


def test_reading_does_not_wait_for_the_journal() -> None:
    journal = StuckJournal()
    journal.may_end.set()
    table = JournaledAdapters(journal, _nothing)
    adapter = add(table)
    journal.may_end.clear()
    journal.is_writing.clear()
    with ThreadPoolExecutor(1) as pool:
        write = pool.submit(add, table, "b")
        assert journal.is_writing.wait(10)
        assert table.get("a") == adapter
        assert table.view() == {"a": adapter}
        assert table.rows() == table.rows_of("a") == [adapter]
        assert table.has(adapter.id)
        assert table.changes_since(table.version) == {}
        assert not write.done()
        journal.may_end.set()
        write.result()
    assert list(table.view()) == ["a", "b"]
