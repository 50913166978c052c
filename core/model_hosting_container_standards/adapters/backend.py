"""What loads adapters: the part of an engine that this package needs for them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Coroutine, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..exceptions import AdapterCapacityError
from .adapter import Adapter
from .base_model import BaseModel

T = TypeVar("T")


class RegisteredAdapters(Protocol):
    """What an engine may ask of the adapters that are registered with its server."""

    @property
    def root(self) -> Path | None:
        """The folder that all adapters have to be in; None: they may be anywhere."""

    def view(self) -> Mapping[str, Adapter]:
        """Return what is registered now, by name; the same object until it changes."""

    def find(self, name: str) -> Adapter | None:
        """Return what a name means, which the HTTP request under way keeps."""

    async def lease_loaded(self, name: str) -> Adapter:
        """Return a loaded adapter, which is not unloaded before :meth:`give_back`.

        Raises:
            AdapterError: there is none, or it cannot be loaded.
        """

    def release(self, adapter: Adapter) -> None:
        """End a lease."""

    async def keep_loaded(self, name: str) -> Adapter:
        """Return a loaded adapter, which the HTTP request under way keeps to its end.

        Raises:
            AdapterError: there is none, or it cannot be loaded.
        """

    def leased_by_request(self) -> Mapping[str, Adapter]:
        """Return what the HTTP request under way has leased, by name."""

    def outliving_request(
        self, work: Callable[[], Coroutine[Any, Any, T]]
    ) -> Coroutine[Any, Any, T]:
        """Return work for a task that keeps the leases of the request under way."""


class AdapterBackend(Protocol):
    """What the standards ask of an engine that loads LoRA adapters.

    A subclass has the defaults of an engine that keeps all adapters, pins none, and
    knows nothing of its model. Its methods raise an :class:`AdapterError`, whose status
    the client gets.

    An engine knows an adapter by ``adapter.id``, a number, or ``adapter.engine_name``.
    Neither is ever given a second time, and the name is the adapter's own if it can be.
    An engine that has its own ids keeps them by one of the two.
    """

    @property
    @abstractmethod
    def server_name(self) -> str:
        """Names the server among those on a machine, and is the same after a restart.

        Such as ``"vllm-8080"``; it becomes the name of a folder.
        """

    def unavailable(self) -> str | None:
        """Say why there can be no adapters and how to mend it, or None if they can."""
        return None

    @property
    def max_rank(self) -> int | None:
        """The highest rank that can be loaded; None: it is not known."""
        return None

    def base_model(self) -> BaseModel | None:
        """Return the model that adapters have to fit; None: nothing is known of it.

        Asked in a thread, each time an adapter's files are looked at.
        """
        return None

    @property
    def slots(self) -> int:
        """How many adapters can be computed at once, and so be pinned; 0: no pins."""
        return 0

    @property
    def slots_option(self) -> str | None:
        """The engine's option that says how many there are; None: it has none."""
        return None

    @property
    def cache_size(self) -> int | None:
        """How many adapters the engine keeps before it drops the oldest; None: all.

        One that was dropped is read from its path again when it is used.
        """
        return None

    @property
    def flags(self) -> Collection[str]:
        """Fields of a registration, true or false, that only this engine knows."""
        return ()

    def prepare(self) -> None:
        """Get ready, once the app has started, whether there can be adapters or not.

        An engine that checks names lists all there are where it does not know one, or
        has its base model answer, as
        :func:`~model_hosting_container_standards.adapters.unknown_model.base_model_answers`
        says.
        """
        return

    @abstractmethod
    def attach(self, adapters: RegisteredAdapters) -> None:
        """Let the engine's own routes see ``adapters``, from now on."""

    @abstractmethod
    def own_models(self) -> Collection[str]:
        """Names that requests give the engine's base model."""

    def own_adapters(self) -> Collection[str]:
        """Names of adapters that the engine has without us."""
        return ()

    def resolves_natively(self, name: str) -> bool:
        """Whether a request may name what the engine has, or finds, without us.

        True also where nothing is known of the name, but the engine refuses those it
        does not know.
        """
        return name in (*self.own_models(), *self.own_adapters())

    @abstractmethod
    async def load(self, adapter: Adapter) -> None:
        """Load an adapter, or do nothing if it is loaded.

        Where pinning is an argument of loading, ``adapter.pin`` is that argument:
        :meth:`pin` is called after it, and has nothing left to do then.
        """

    @abstractmethod
    async def unload(self, adapter: Adapter) -> None:
        """Free what the engine has of an adapter that no request uses."""

    async def pin(self, adapter: Adapter) -> None:
        """Keep a loaded adapter loaded; do nothing if it is pinned."""
        raise AdapterCapacityError(f"{adapter.name!r}: this engine has no pins.")

    async def unpin(self, adapter: Adapter) -> None:
        """Undo :meth:`pin`, without harm to the requests that use the adapter."""
        del adapter
