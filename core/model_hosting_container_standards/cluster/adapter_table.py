"""The table of adapters in the coordinator's memory, stored in a journal."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from ..adapters.adapter import Adapter, AdapterSpec
from ..adapters.table import FIRST_ID, AdapterTable, Check
from ..exceptions import AdapterNotFoundError
from .journal import Journal

_ADAPTERS: Final = "adapter/"
_BUNDLED: Final = "bundled/"
_LAST_ID: Final = "last_id"
_REGISTERED: Final = frozenset({"ready", "failed"})
#: Changes that are remembered for members that have not seen them.
_REMEMBERED: Final = 1000

Rows = tuple[Adapter, ...]


class JournaledAdapters(AdapterTable):
    """The ``AdapterTable`` of servers on several machines. Thread-safe.

    The journal has one entry for each name, with all adapters of that name, so that a
    replacement is one change. A change is written to the journal first: if that fails,
    nothing has changed. Reading never waits for the journal.

    Args:
        on_change: called, in any thread, when the view has changed.
    """

    def __init__(self, journal: Journal, on_change: Callable[[], None]) -> None:
        self._journal = journal
        self._on_change = on_change
        #: Held by the thread that changes something, also while the journal stores it.
        self._writing = threading.Lock()
        #: Held while the attributes below are changed, or several of them are read.
        self._lock = threading.Lock()
        self._rows = {
            name: msgspec.json.decode(rows, type=Rows)
            for name, rows in journal.entries(_ADAPTERS).items()
        }
        self._names = {row.id: row.name for row in _flatten(self._rows.values())}
        self._counts = _count_by_pin(_flatten(self._rows.values()))
        self._view: Mapping[str, Adapter] | None = None
        self._registered = {
            row.name: row
            for row in _flatten(self._rows.values())
            if row.state in _REGISTERED
        }
        self._is_sorted = False
        #: Increases with each change of the view.
        self.version = 0
        self._changed_names: deque[str] = deque(maxlen=_REMEMBERED)
        self._bundled = set(journal.entries(_BUNDLED))
        #: The last id in the journal; those of adapters that are in it may be higher.
        self._stored_id = int(journal.entries(_LAST_ID).get("", FIRST_ID - 1))
        self._last_id = max((self._stored_id, *self._names))

    @property
    def registrations(self) -> int:
        return self._last_id - FIRST_ID + 1

    def view(self) -> Mapping[str, Adapter]:
        view = self._view
        if view is None:
            with self._lock:
                if not self._is_sorted:
                    # Kept in this order, as sorting what is almost sorted is fast.
                    self._registered = sort_by_name(self._registered)
                    self._is_sorted = True
                view = self._view = MappingProxyType(self._registered.copy())
        return view

    def changes_since(self, version: int) -> Mapping[str, Adapter | None] | None:
        """Return what has changed in the view since a version, by name.

        The value is None for an adapter that was removed. Returns None if there were
        too many changes.
        """
        with self._lock:
            number = self.version - version
            if not 0 <= number <= len(self._changed_names):
                return None
            names = [*self._changed_names][len(self._changed_names) - number :]
            return {name: self._registered.get(name) for name in names}

    def rows(self) -> list[Adapter]:
        with self._lock:
            return _flatten(self._rows.values())

    def rows_of(self, name: str) -> list[Adapter]:
        with self._lock:
            return [*self._rows.get(name, ())]

    def has(self, adapter_id: int) -> bool:
        with self._lock:
            return adapter_id in self._names

    def reserve(
        self, spec: AdapterSpec, path: str, by_handler: bool, check: Check
    ) -> Adapter:
        with self._writing:
            adapter = self._make(spec, path, by_handler)
            self._put(adapter, check=check)
            return adapter

    def add_bundled(self, found: Sequence[tuple[AdapterSpec, str]]) -> list[str]:
        """Register the adapters of the model folder; return the new names.

        If the journal fails, those before are registered, and another call registers
        the others.
        """
        added = []
        with self._writing:
            for spec, path in found:
                if spec.name in self._bundled:
                    continue
                if spec.name not in self._registered:
                    adapter = self._make(spec, path, by_handler=False)
                    self._put(_with(adapter, state="ready"))
                    added.append(spec.name)
                self._journal.put(_BUNDLED + spec.name, b"")
                self._bundled.add(spec.name)
        return added

    def complete(self, adapter: Adapter, *, loaded: bool) -> Adapter | None:
        with self._writing:
            current = self._row(adapter)
            replaced = self._drained(adapter.name)
            ready = _with(current, state="ready", loaded=loaded)
            self._put(ready, *([] if replaced is None else [replaced]))
            return replaced

    def drain(self, name: str) -> Adapter | None:
        with self._writing:
            drained = self._drained(name)
            if drained is not None:
                self._put(drained)
            return drained

    def discard(self, adapter_id: int) -> None:
        with self._writing:
            name = self._names.get(adapter_id)
            if name is not None:
                others = (row for row in self._rows[name] if row.id != adapter_id)
                self._replace(name, tuple(others))

    def change(
        self, adapter: Adapter, check: Check | None = None, **columns: Any
    ) -> Adapter:
        with self._writing:
            changed = _with(self._row(adapter), **columns)
            self._put(changed, check=check)
            return changed

    def fail(self, adapter: Adapter, reason: str) -> None:
        self.change(adapter, state="failed", loaded=False, reason=reason)

    def unload_all(self) -> None:
        """Mark all adapters as not loaded: the engines have just started.

        If the journal fails, some are marked, and another call marks the others.
        """
        self._unload(lambda row: row.loaded or row.engine_id is not None)

    def unload_others(self, engine_ids: Collection[str]) -> None:
        """Mark adapters as not loaded whose id of the engine is none of these.

        If the journal fails, some are marked, and another call marks the others.
        """
        self._unload(
            lambda row: row.engine_id is not None and row.engine_id not in engine_ids
        )

    def _unload(self, is_chosen: Callable[[Adapter], bool]) -> None:
        with self._writing:
            for row in filter(is_chosen, _flatten(self._rows.values())):
                self._put(_with(row, loaded=False, engine_id=None))

    def close(self) -> None:
        """Do nothing: the journal belongs to the caller."""

    def _make(self, spec: AdapterSpec, path: str, by_handler: bool) -> Adapter:
        adapter_id = self._last_id + 1
        return Adapter(
            id=adapter_id,
            name=spec.name,
            src=spec.src,
            path=path,
            engine_name=f"{spec.name}#{adapter_id}",
            preload=spec.preload,
            pin=spec.pin,
            state="loading",
            loaded=False,
            by_handler=by_handler,
            reason=None,
            options=spec.options,
        )

    def _row(self, adapter: Adapter) -> Adapter:
        """Return the current state of an adapter."""
        for row in self._rows.get(adapter.name, ()):
            if row.id == adapter.id:
                return row
        raise AdapterNotFoundError("The adapter was unregistered in the meantime.")

    def _drained(self, name: str) -> Adapter | None:
        """Return the adapter of a name as it will be once it is hidden."""
        adapter = self._registered.get(name)
        return None if adapter is None else _with(adapter, state="draining")

    def _put(self, *changed: Adapter, check: Check | None = None) -> None:
        """Add or change adapters of one name."""
        name = changed[0].name
        rows = {row.id: row for row in (*self._rows.get(name, ()), *changed)}
        self._replace(name, tuple(rows.values()), check)

    def _replace(self, name: str, rows: Rows, check: Check | None = None) -> None:
        """Store the adapters of a name, instead of those before."""
        before = self._rows.get(name, ())
        counts = self._counts.copy()
        counts.subtract(_count_by_pin(before))
        counts.update(_count_by_pin(rows))
        if check is not None:
            check(counts[True], counts[False])
        self._store(name, before, rows)
        with self._lock:
            self._counts = counts
            self._set_rows(name, rows)
            registered = next((row for row in rows if row.state in _REGISTERED), None)
            has_changed = self._set_registered(name, registered)
        if has_changed:
            self._on_change()

    def _store(self, name: str, before: Rows, rows: Rows) -> None:
        ids = {row.id for row in rows}
        # Also if the journal fails: it may have stored the adapter all the same.
        self._last_id = max((self._last_id, *ids))
        if any(row.id > self._stored_id for row in before if row.id not in ids):
            # Before its adapter leaves the journal: an id must not be used twice.
            self._journal.put(_LAST_ID, b"%d" % self._last_id)
            self._stored_id = self._last_id
        if rows:
            self._journal.put(_ADAPTERS + name, msgspec.json.encode(rows))
        else:
            self._journal.delete(_ADAPTERS + name)

    def _set_rows(self, name: str, rows: Rows) -> None:
        for row in self._rows.pop(name, ()):
            del self._names[row.id]
        if rows:
            self._rows[name] = rows
            self._names.update((row.id, name) for row in rows)

    def _set_registered(self, name: str, adapter: Adapter | None) -> bool:
        """Change what the view has of a name; return whether that differs."""
        if self._registered.get(name) == adapter:
            return False
        if adapter is None:
            del self._registered[name]
        else:
            self._is_sorted = self._is_sorted and name in self._registered
            self._registered[name] = adapter
        self._view = None
        self.version += 1
        self._changed_names.append(name)
        return True


def sort_by_name(adapters: dict[str, Adapter]) -> dict[str, Adapter]:
    return {name: adapters[name] for name in sorted(adapters)}


def _flatten(rows: Iterable[Rows]) -> list[Adapter]:
    return [row for of_name in rows for row in of_name]


def _count_by_pin(rows: Iterable[Adapter]) -> Counter[bool]:
    """Count the pinned adapters of the engine, and the others."""
    return Counter(
        row.pin for row in rows if row.state != "failed" and not row.by_handler
    )


def _with(adapter: Adapter, **columns: Any) -> Adapter:
    return msgspec.structs.replace(adapter, **columns)
