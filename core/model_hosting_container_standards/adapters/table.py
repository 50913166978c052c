"""The storage interface of registered adapters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from ..exceptions import AdapterNotFoundError
from .adapter import Adapter, AdapterSpec

#: Our ids start at a number that no engine's own counter reaches.
FIRST_ID: Final = 1 << 20

#: Called with the numbers of pinned and of other adapters of the engine.
Check = Callable[[int, int], None]


class AdapterView(Protocol):
    """The registered adapters, for reading."""

    @property
    def registrations(self) -> int:
        """The number of registrations until the last :meth:`view`."""

    def view(self) -> Mapping[str, Adapter]:
        """Return the registered adapters by name, sorted by name.

        Called for every request; returns the same object until something has changed.
        """

    def get(self, name: str) -> Adapter:
        """Return a registered adapter.

        Raises:
            AdapterNotFoundError: no adapter has this name.
        """
        adapter = self.view().get(name)
        if adapter is None:
            raise AdapterNotFoundError(f"Adapter {name!r} does not exist.")
        return adapter


class AdapterTable(AdapterView, Protocol):
    """The adapters of all processes of a server, on one machine or on several.

    Every method that changes something is one transaction, which all processes see.
    ``check`` arguments are called before it is committed, with the new numbers, and
    raise to roll it back. Ids and engine names are never reused.
    """

    def rows(self) -> list[Adapter]:
        """Return all adapters, including those that are being loaded or draining."""

    def rows_of(self, name: str) -> list[Adapter]:
        """Return all adapters of one name, at most one of which is registered."""

    def has(self, adapter_id: int) -> bool:
        """Whether an adapter has this id, in any state."""

    def reserve(
        self, spec: AdapterSpec, path: str, by_handler: bool, check: Check
    ) -> Adapter:
        """Add an adapter in the state of loading, with an id, invisible to requests."""

    def add_bundled(self, found: Sequence[tuple[AdapterSpec, str]]) -> list[str]:
        """Register the adapters of the model folder; return the new names.

        Names that were added from the folder before, or are registered, are not new.
        """

    def complete(self, adapter: Adapter, *, loaded: bool) -> Adapter | None:
        """Make an adapter visible; return the one it replaces, now draining."""

    def drain(self, name: str) -> Adapter | None:
        """Hide an adapter from new requests; return it, or None if it is unknown."""

    def discard(self, adapter_id: int) -> None:
        """Delete an adapter that no request uses."""

    def change(
        self, adapter: Adapter, check: Check | None = None, **columns: Any
    ) -> Adapter:
        """Change fields of a registered adapter, and return the new state.

        Raises:
            AdapterNotFoundError: the adapter is no longer registered.
        """

    def fail(self, adapter: Adapter, reason: str) -> None:
        """Mark an adapter that can no longer be loaded as failed, with the reason."""

    def unload_all(self) -> None:
        """Mark all adapters as not loaded: the engine has just started."""

    def close(self) -> None:
        """Close the table's storage."""
