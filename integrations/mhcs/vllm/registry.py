"""A live view of registered adapters as vLLM's registry.

vLLM's registry is a list up to 0.9 and a dict since 0.10.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from model_hosting_container_standards.engines import Adapter, RegisteredAdapters

#: Returns vLLM's ``LoRARequest`` for an adapter and the name that clients use.
MakeRequest = Callable[[Adapter, str], Any]


class Entries:
    """vLLM's entries for the registered adapters, rebuilt only when those change."""

    def __init__(self, adapters: RegisteredAdapters, make_request: MakeRequest) -> None:
        self._adapters = adapters
        self._make_request = make_request
        self._view: Mapping[str, Adapter] | None = None
        self._entries: dict[str, Any] = {}
        self._previous: dict[str, Any] = {}

    def find(self, name: str) -> Any:
        """Return the entry of a name, or None.

        vLLM looks a name up several times per request; all lookups of a request return
        the same adapter.
        """
        entry = self._current_entries().get(name)
        adapter = self._adapters.find(name)
        if adapter is None or adapter.by_handler or not adapter.answers:
            return None
        if entry is None or entry.lora_int_id != adapter.id:
            return self._make_request(adapter, name)  # Unregistered or replaced since.
        return entry

    def latest(self, name: str) -> Any:
        """Return the entry of a name, also if it was just unregistered, or None.

        Outside of requests, an adapter may be unregistered between two lookups.
        """
        return self.find(name) or self._previous.get(name)

    def current(self) -> dict[str, Any]:
        """Return the entries as seen by the current request, which holds leases."""
        leased = map(self.find, self._adapters.leased_by_request())
        own = {entry.lora_name: entry for entry in leased if entry is not None}
        return {**self._current_entries(), **own} if own else self._current_entries()

    def _current_entries(self) -> dict[str, Any]:
        view = self._adapters.view()
        if view is not self._view:
            self._previous = self._entries
            self._entries = {
                name: self._make_request(adapter, name)
                for name, adapter in view.items()
                if adapter.answers and not adapter.by_handler
            }
            self._view = view
        return self._entries


class LiveDict(dict[str, Any]):
    """vLLM's registry since 0.10, by name. Entries that vLLM adds itself are kept."""

    def __init__(self, own: Mapping[str, Any], entries: Entries) -> None:
        super().__init__(own)
        self._registered = entries

    def engine_names(self) -> Collection[str]:
        return [*super().keys()]

    def _all(self) -> dict[str, Any]:
        # Not dict.copy: it calls keys(), which calls this method.
        own = {
            name: super(LiveDict, self).__getitem__(name)
            for name in self.engine_names()
        }
        return {**own, **self._registered.current()}

    def __contains__(self, name: object) -> bool:
        return self._find(name) is not None or super().__contains__(name)

    def __getitem__(self, name: str) -> Any:
        entry = self._registered.latest(name)
        return super().__getitem__(name) if entry is None else entry

    def get(self, name: str, default: Any = None) -> Any:
        entry = self._find(name)
        return super().get(name, default) if entry is None else entry

    def _find(self, name: object) -> Any:
        return self._registered.find(name) if isinstance(name, str) else None

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def keys(self) -> Any:
        return self._all().keys()

    def values(self) -> Any:
        return self._all().values()

    def items(self) -> Any:
        return self._all().items()


class LiveList(list[Any]):
    """vLLM's registry up to 0.9, a list that is searched for a name."""

    def __init__(self, own: Collection[Any], entries: Entries) -> None:
        super().__init__(own)
        self._registered = entries

    def engine_names(self) -> Collection[str]:
        return [entry.lora_name for entry in super().__iter__()]

    def __iter__(self) -> Iterator[Any]:
        # As in LiveDict: vLLM's own come first, unless ours has the same name.
        ours = self._registered.current()
        for entry in super().__iter__():
            if entry.lora_name not in ours:
                yield entry
        yield from ours.values()

    def __len__(self) -> int:
        return sum(1 for _ in self)


LiveRegistry = LiveDict | LiveList


def live_registry(
    own: Any, adapters: RegisteredAdapters, make_request: MakeRequest
) -> LiveRegistry:
    """Return a registry of vLLM's own entries and of the registered adapters."""
    entries = Entries(adapters, make_request)
    return (LiveDict if isinstance(own, dict) else LiveList)(own, entries)


def own_names(own: Any) -> Collection[str]:
    """Return the names in one of vLLM's original registries."""
    return [*own] if isinstance(own, dict) else [entry.lora_name for entry in own]
