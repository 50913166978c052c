"""The interfaces between adapters and the engine that loads them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Coroutine, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from starlette.concurrency import run_in_threadpool

from ..exceptions import AdapterCapacityError
from .adapter import Adapter
from .base_model import BaseModel

# What reads adapters' files is imported late: only servers with adapters need it.

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
            AdapterError: it does not exist, or cannot be loaded.
        """

    def release(self, adapter: Adapter) -> None:
        """End a lease."""

    async def keep_loaded(self, name: str) -> Adapter:
        """Return a loaded adapter, leased until the current HTTP request ends.

        Raises:
            AdapterError: it does not exist, or cannot be loaded.
        """

    async def select(self, name: str) -> None:
        """Make an adapter the one that answers the current HTTP request.

        Raises:
            AdapterError: it does not exist, or cannot be loaded.
        """

    def selected(self) -> Adapter | None:
        """Return the adapter that the current HTTP request names, leased and loaded.

        None: the request names none, or one that the engine itself has loaded.
        """

    def selected_own(self) -> str | None:
        """Return the name of the engine's own adapter that the request names."""

    def leased_by_request(self) -> Mapping[str, Adapter]:
        """Return the adapters that the current HTTP request has leased, by name."""

    def outliving_request(
        self, work: Callable[[], Coroutine[Any, Any, T]]
    ) -> Coroutine[Any, Any, T]:
        """Wrap work for a task, so that it keeps the current request's leases."""


class AdapterBackend(Protocol):
    """The interface of an engine that loads LoRA adapters.

    The defaults are those of an engine that keeps all adapters, does not pin any, and
    does not know its model's layout. Methods raise an :class:`AdapterError`, whose
    status and text are sent to the client.

    An engine refers to an adapter by ``adapter.id``, an integer, or
    ``adapter.engine_name``, which is the adapter's own name if possible. Neither is
    ever reused. An engine that assigns an id of its own returns it from :meth:`load`;
    all processes of the server then find it as ``adapter.engine_id``.
    """

    @property
    @abstractmethod
    def server_name(self) -> str:
        """A name that is unique on the machine and stable across restarts.

        Such as ``"vllm-8080"``; it becomes part of a folder's name.
        """

    def unavailable(self) -> str | None:
        """Return why adapters are unavailable and how to fix it; None if they work."""
        return None

    @property
    def max_rank(self) -> int | None:
        """The highest rank that can be loaded; None: unknown."""
        return None

    def base_model(self) -> BaseModel | None:
        """Return the model that adapters must fit; None: unknown.

        Called in a worker thread, each time an adapter's files are checked.
        """
        return None

    @property
    def slots(self) -> int:
        """The number of adapters that can run at once or be pinned; 0: no pinning."""
        return 0

    @property
    def slots_option(self) -> str | None:
        """The engine's option for the number of slots; None: no such option."""
        return None

    @property
    def max_pinned(self) -> int | None:
        """The number of adapters that can be pinned, however many others there are.

        None: pinned adapters and others share the slots.
        """
        return None

    @property
    def cache_size(self) -> int | None:
        """The number of adapters that the engine keeps before evicting; None: all.

        An evicted adapter is reloaded from its path when it is used.
        """
        return None

    @property
    def flags(self) -> Collection[str]:
        """Boolean fields of a registration that are specific to this engine."""
        return ()

    async def locate(self, src: str, root: Path | None) -> str:
        """Return the real path of ``src``, on the machine of the engine.

        Args:
            src: a path, which may be relative to ``root``.
            root: the only folder that adapters may be loaded from; None: any.

        Raises:
            AdapterError: it is not a path, or not below ``root``.
        """
        from .files import locate

        return str(await run_in_threadpool(locate, src, root))

    async def check_folder(
        self, src: str, root: Path | None, *, values: bool = True
    ) -> str:
        """Check that a folder holds an adapter of this model; return its real path.

        Without ``values``, only the header of its weights is read.

        Raises:
            AdapterError: it is missing, or cannot be loaded.
        """
        from .files import check_folder, locate

        path = await run_in_threadpool(locate, src, root)
        await run_in_threadpool(
            check_folder, path, root, self.max_rank, self.base_model, values=values
        )
        return str(path)

    def prepare(self) -> None:
        """Prepare the engine when the app has started, even without adapters.

        An engine that validates model names makes its error for an unknown name list
        the available ones, or answers with its base model where
        :func:`~model_hosting_container_standards.adapters.unknown_model.base_model_answers`
        is true.
        """
        return

    @abstractmethod
    def attach(self, adapters: RegisteredAdapters) -> None:
        """Make ``adapters`` visible to the engine's own routes."""

    @abstractmethod
    def own_models(self) -> Collection[str]:
        """Return the names by which requests address the base model."""

    def default_model(self) -> str:
        """Return the model of requests with an empty name; empty: the engine's choice.

        By default, the first name of :meth:`own_models`.
        """
        return next(iter(self.own_models()), "")

    def own_adapters(self) -> Collection[str]:
        """Return the names of adapters that the engine loaded by itself."""
        return ()

    def adapter_of(self, model: str) -> str | None:
        """Return the adapter in the model field of a request; None: the base model.

        Override it where the field may have more than a name, as ``base:adapter``.
        """
        return None if model in self.own_models() else model

    def resolves_natively(self, name: str) -> bool:
        """Return whether the engine itself handles this name.

        True for names that the engine knows or can resolve, and for any name if the
        engine rejects unknown ones itself.
        """
        return name in (*self.own_models(), *self.own_adapters())

    @abstractmethod
    async def load(self, adapter: Adapter) -> str | None:
        """Load an adapter; does nothing if it is loaded.

        Returns the id that the engine gave it; None: engines use one of ours.

        Where pinning is an argument of loading, ``adapter.pin`` is that argument:
        :meth:`pin` is called after it, and then does nothing.
        """

    @abstractmethod
    async def unload(self, adapter: Adapter) -> None:
        """Unload an adapter that no request uses."""

    async def pin(self, adapter: Adapter) -> None:
        """Protect a loaded adapter from eviction; does nothing if it is pinned."""
        raise AdapterCapacityError(
            f"Adapter {adapter.name!r} cannot be pinned: this engine cannot pin."
        )

    async def unpin(self, adapter: Adapter) -> None:
        """Undo :meth:`pin`, without disturbing requests that use the adapter."""
        del adapter
