"""The table of adapters in the coordinator's memory, stored in a journal."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
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


class JournaledAdapters(AdapterTable):
    """The ``AdapterTable`` of servers on several machines. Thread-safe.

    A change is written to the journal first. If that fails, nothing has changed.

    Args:
        on_change: called, in any thread, when the view has changed.
    """

    def __init__(self, journal: Journal, on_change: Callable[[], None]) -> None:
        self._journal = journal
        self._on_change = on_change
        self._lock = threading.Lock()
        stored = journal.entries(_ADAPTERS).values()
        self._rows = {row.id: row for row in map(_decode, stored)}
        self._bundled = set(journal.entries(_BUNDLED))
        last = journal.entries(_LAST_ID).get("", b"")
        self._last_id = int(last) if last else FIRST_ID - 1
        self._names: dict[str, Adapter] = {}
        self._view: Mapping[str, Adapter] | None = None
        #: Increases with each change of the view.
        self.version = 0
        self._changed_names: deque[str] = deque(maxlen=_REMEMBERED)
        self._end_replacements()

    def _end_replacements(self) -> None:
        """Keep the newest adapter of each name: a replacement may have been cut off."""
        for row in sorted(self._rows.values(), key=lambda row: row.id):
            if row.state in _REGISTERED:
                if (older := self._names.get(row.name)) is not None:
                    self._rows[older.id] = _with(older, state="draining")
                self._names[row.name] = row

    @property
    def registrations(self) -> int:
        return self._last_id - FIRST_ID + 1

    def view(self) -> Mapping[str, Adapter]:
        view = self._view
        if view is None:
            with self._lock:
                view = self._view = MappingProxyType(dict(sorted(self._names.items())))
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
            return {name: self._names.get(name) for name in names}

    def get(self, name: str) -> Adapter:
        adapter = self._names.get(name)
        if adapter is None:
            raise AdapterNotFoundError(f"Adapter {name!r} does not exist.")
        return adapter

    def rows(self) -> list[Adapter]:
        with self._lock:
            return [*self._rows.values()]

    def rows_of(self, name: str) -> list[Adapter]:
        return [row for row in self.rows() if row.name == name]

    def has(self, adapter_id: int) -> bool:
        return adapter_id in self._rows

    def reserve(
        self, spec: AdapterSpec, path: str, by_handler: bool, check: Check
    ) -> Adapter:
        with self._lock:
            adapter = self._make(spec, path, by_handler)
            check(*self._count_by_pin([adapter]))
            self._save(adapter)
            return adapter

    def add_bundled(self, found: Sequence[tuple[AdapterSpec, str]]) -> list[str]:
        added = []
        with self._lock:
            for spec, path in found:
                if spec.name in self._bundled:
                    continue
                if spec.name not in self._names:
                    adapter = self._make(spec, path, by_handler=False)
                    self._save(_with(adapter, state="ready"))
                    added.append(spec.name)
                self._journal.put(_BUNDLED + spec.name, b"")
                self._bundled.add(spec.name)
        return added

    def complete(self, adapter: Adapter, *, loaded: bool) -> Adapter | None:
        with self._lock:
            current = self._rows[adapter.id]
            replaced = self._names.get(adapter.name)
            self._save(_with(current, state="ready", loaded=loaded))
            return None if replaced is None else self._drain(replaced)

    def drain(self, name: str) -> Adapter | None:
        with self._lock:
            adapter = self._names.get(name)
            return None if adapter is None else self._drain(adapter)

    def discard(self, adapter_id: int) -> None:
        with self._lock:
            if adapter_id in self._rows:
                self._journal.delete(f"{_ADAPTERS}{adapter_id}")
                self._hide(self._rows.pop(adapter_id))

    def change(
        self, adapter: Adapter, check: Check | None = None, **columns: Any
    ) -> Adapter:
        with self._lock:
            current = self._rows.get(adapter.id)
            if current is None:
                raise AdapterNotFoundError(
                    "The adapter was unregistered in the meantime."
                )
            changed = _with(current, **columns)
            if check is not None:
                check(*self._count_by_pin([changed]))
            self._save(changed)
            return changed

    def fail(self, adapter: Adapter, reason: str) -> None:
        self.change(adapter, state="failed", loaded=False, reason=reason)

    def unload_all(self) -> None:
        with self._lock:
            for row in [*self._rows.values()]:
                if row.loaded or row.engine_id is not None:
                    self._save(_with(row, loaded=False, engine_id=None))

    def close(self) -> None:
        """Do nothing: the journal belongs to the caller."""

    def _make(self, spec: AdapterSpec, path: str, by_handler: bool) -> Adapter:
        adapter_id = self._last_id + 1
        # Stored before it is used: an id must not be used twice.
        self._journal.put(_LAST_ID, b"%d" % adapter_id)
        self._last_id = adapter_id
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

    def _drain(self, adapter: Adapter) -> Adapter:
        self._save(_with(adapter, state="draining"))
        return adapter

    def _save(self, adapter: Adapter) -> None:
        """Store a row. The lock must be held."""
        key = f"{_ADAPTERS}{adapter.id}"
        self._journal.put(key, msgspec.json.encode(adapter))
        self._rows[adapter.id] = adapter
        if adapter.state in _REGISTERED:
            self._names[adapter.name] = adapter
            self._changed(adapter.name)
        else:
            self._hide(adapter)

    def _hide(self, adapter: Adapter) -> None:
        """Remove an adapter from the view, unless another one has its name now."""
        named = self._names.get(adapter.name)
        if named is not None and named.id == adapter.id:
            del self._names[adapter.name]
            self._changed(adapter.name)

    def _changed(self, name: str) -> None:
        self._view = None
        self.version += 1
        self._changed_names.append(name)
        self._on_change()

    def _count_by_pin(self, changed: Collection[Adapter]) -> tuple[int, int]:
        """Return how many adapters of the engine are pinned, and how many are not."""
        rows = {**self._rows, **{row.id: row for row in changed}}.values()
        counted = [row for row in rows if row.state != "failed" and not row.by_handler]
        pinned = sum(row.pin for row in counted)
        return pinned, len(counted) - pinned


def _with(adapter: Adapter, **columns: Any) -> Adapter:
    return msgspec.structs.replace(adapter, **columns)


def _decode(value: bytes) -> Adapter:
    return msgspec.json.decode(value, type=Adapter)
