"""What holds the registered adapters of a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from .adapter import Adapter, AdapterSpec

#: Ids of ours begin where no engine's own counter gets to.
FIRST_ID: Final = 1 << 20

#: Gets how many adapters of the engine are pinned, and how many are not.
Check = Callable[[int, int], None]


class AdapterTable(Protocol):
    """One truth for all processes of a server, on one machine or on several.

    Every method that changes something is one transaction, which all processes see.
    ``check`` arguments see what the table would be like after it, and raise to undo it.
    An id, and an engine name, is never given a second time.
    """

    @property
    def registrations(self) -> int:
        """How often something was registered until the last view."""

    def view(self) -> Mapping[str, Adapter]:
        """Return what is registered now, by name, in the order of names.

        The same object as before, unless something has changed: every request asks.
        """

    def get(self, name: str) -> Adapter:
        """Return a registered adapter.

        Raises:
            AdapterNotFoundError: there is none of this name.
        """

    def rows(self) -> list[Adapter]:
        """Return all adapters, with those that are being loaded or are draining."""

    def rows_of(self, name: str) -> list[Adapter]:
        """Return those of one name, of which one at most is registered."""

    def has(self, adapter_id: int) -> bool:
        """Whether there is an adapter of this id, in whatever state."""

    def reserve(
        self, spec: AdapterSpec, path: str, by_handler: bool, check: Check
    ) -> Adapter:
        """Add an adapter that is being loaded: it has an id, and no request sees it."""

    def add_bundled(self, found: Sequence[tuple[AdapterSpec, str]]) -> list[str]:
        """Register what comes with the model, with its path, and return the new names.

        A name that came with it before is not new, nor is one that is registered.
        """

    def complete(self, adapter: Adapter, *, loaded: bool) -> Adapter | None:
        """Let requests see an adapter; return what had its name and now leaves."""

    def drain(self, name: str) -> Adapter | None:
        """Let no new request see an adapter; return it, if there was one."""

    def discard(self, adapter_id: int) -> None:
        """Forget an adapter that no request sees."""

    def change(
        self, adapter: Adapter, check: Check | None = None, **columns: Any
    ) -> Adapter:
        """Change fields of a registered adapter, and return it as it is then.

        Raises:
            AdapterNotFoundError: it is not there any more.
        """

    def fail(self, adapter: Adapter, reason: str) -> None:
        """Keep an adapter that cannot be loaded any more, with the reason."""

    def unload_all(self) -> None:
        """Note that the engine has just started, and has nothing."""

    def close(self) -> None:
        """Let go of what the table is in."""
