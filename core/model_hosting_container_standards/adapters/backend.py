"""The interfaces between adapters and the engine that loads them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from .adapter import Adapter
from .base_model import BaseModel

T = TypeVar("T")


class RegisteredAdapters(Protocol):
    """The registered adapters, as an engine sees them."""

    @property
    def root(self) -> Path | None:
        """The only folder that adapters may be loaded from; None: any."""

    def view(self) -> Mapping[str, Adapter]:
        """Return the registered adapters by name; the same object until it changes."""

    def find(self, name: str) -> Adapter | None:
        """Return the adapter of this name, and lease it for the current request."""

    async def lease_loaded(self, name: str) -> Adapter:
        """Return a loaded adapter that is not unloaded before :meth:`release`.

        Raises:
            AdapterError: there is none, or it cannot be loaded.
        """

    def release(self, adapter: Adapter) -> None:
        """End a lease."""

    async def keep_loaded(self, name: str) -> Adapter:
        """Return a loaded adapter, leased until the current HTTP request ends.

        Raises:
            AdapterError: there is none, or it cannot be loaded.
        """

    def leased_by_request(self) -> Mapping[str, Adapter]:
        """Return the adapters that the current HTTP request has leased, by name."""

    def outliving_request(
        self, work: Callable[[], Coroutine[Any, Any, T]]
    ) -> Coroutine[Any, Any, T]:
        """Wrap work for a task, so that it keeps the current request's leases."""


class AdapterBackend(Protocol):
    """The interface of an engine that loads LoRA adapters.

    Its methods raise an :class:`AdapterError`, whose status and text the client gets.
    """

    @property
    def server_name(self) -> str:
        """A name that is unique on the machine and stable across restarts.

        Such as ``"vllm-8080"``; it becomes part of a folder's name.
        """

    def unavailable(self) -> str | None:
        """Return why adapters are unavailable and how to fix it; None if they work."""

    @property
    def max_rank(self) -> int | None:
        """The highest rank that can be loaded; None: unknown."""

    def base_model(self) -> BaseModel | None:
        """Return the model that adapters must fit; None: unknown.

        Called in a worker thread, each time an adapter's files are checked.
        """

    @property
    def slots(self) -> int:
        """How many adapters can run at once, and so be pinned; 0: no pinning."""

    @property
    def slots_option(self) -> str | None:
        """The engine's option that says how many there are; None: it has none."""

    @property
    def cache_size(self) -> int | None:
        """How many adapters the engine keeps before evicting the oldest; None: all.

        An evicted adapter is reloaded from its path when it is used.
        """

    @property
    def flags(self) -> Collection[str]:
        """Boolean fields of a registration that are specific to this engine."""

    def prepare(self) -> None:
        """Prepare the engine when the app has started, even without adapters.

        An engine that validates model names makes its error for an unknown name list
        the available ones, or answers with its base model where
        :func:`~model_hosting_container_standards.adapters.unknown_model.base_model_answers`
        is true.
        """

    def attach(self, adapters: RegisteredAdapters) -> None:
        """Make ``adapters`` visible to the engine's own routes."""

    def own_models(self) -> Collection[str]:
        """Return the names by which requests address the base model."""

    def own_adapters(self) -> Collection[str]:
        """Return the names of adapters that the engine loaded by itself."""

    def resolves_natively(self, name: str) -> bool:
        """Return whether the engine itself handles this name.

        True for names that the engine knows or can resolve, and for any name if the
        engine rejects unknown ones itself.
        """

    async def load(self, adapter: Adapter) -> None:
        """Load an adapter; does nothing if it is loaded."""

    async def unload(self, adapter: Adapter) -> None:
        """Unload an adapter that no request uses."""

    async def pin(self, adapter: Adapter) -> None:
        """Protect a loaded adapter from eviction."""

    async def unpin(self, adapter: Adapter) -> None:
        """Undo :meth:`pin`, without disturbing requests that use the adapter."""
