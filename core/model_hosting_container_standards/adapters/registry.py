"""The adapters of a server: lookup, leases, and changes to what is registered."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ..exceptions import AdapterNotFoundError
from .adapter import Adapter, AdapterSpec, check_name, join_names
from .backend import AdapterBackend
from .files import has_files
from .leases import AdapterLeases
from .operations import AdapterOperations, ByHandler
from .request_leases import CURRENT, RequestLeases, Work, current_leases
from .table import AdapterView

T = TypeVar("T")


class AdapterRegistry:
    """The adapters that are registered with a running server.

    The stored table is authoritative, and the engine follows it. Its parts are those of
    one machine (:class:`~.local_registry.LocalRegistry`), or of several.

    Args:
        backend: the engine; None: registered handlers load adapters.
        adapters: the stored adapters.
        leases: the leases of this process.
        operations: changes what is registered.
        root: the only folder that adapters may be loaded from; None: any.
    """

    def __init__(
        self,
        backend: AdapterBackend | None,
        adapters: AdapterView,
        leases: AdapterLeases,
        operations: AdapterOperations,
        root: Path | None,
    ) -> None:
        self.backend = backend
        self.leases = leases
        self.root = root
        self._adapters = adapters
        self._operations = operations
        self._thread = threading.get_ident()

    def view(self) -> Mapping[str, Adapter]:
        """Return the registered adapters by name; the same object until it changes."""
        return self._adapters.view()

    def find(self, name: str) -> Adapter | None:
        """Return the adapter of this name, if there is one.

        Within an HTTP request, the adapter is leased if it is usable. This happens only
        in the event loop, where leases are counted; threads may call this, too.
        """
        request = current_leases(self.leases)
        if request is not None and (adapter := request.by_name.get(name)):
            return adapter
        adapter = self.view().get(name)
        if adapter is not None and request is not None and self._is_in_loop():
            # Not usable: lease() raises the error.
            with contextlib.suppress(AdapterNotFoundError):
                adapter = self._lease_for(request, name)
        return adapter

    def lease(self, name: str) -> Adapter:
        """Return an adapter that is not unloaded before :meth:`release`.

        Within an HTTP request, it also stays leased until the request ends, and the
        name refers to this adapter until then.

        Raises:
            AdapterNotFoundError: it does not exist, or is not usable.
        """
        request = current_leases(self.leases)
        if request is None:
            return self._lease(name)
        adapter = self._lease_for(request, name)
        self.leases.acquire(adapter)
        return adapter

    def _lease_for(self, request: RequestLeases, name: str) -> Adapter:
        """Return the adapter of a request, leased on first use."""
        adapter = request.by_name.get(name)
        if adapter is None:
            adapter = request.by_name[name] = self._lease(name)
        else:
            self._check_files(adapter)
        return adapter

    def _lease(self, name: str) -> Adapter:
        while True:
            adapter = self._check_usable(self.view().get(name), name)
            try:
                self.leases.acquire(adapter)
            except BlockingIOError:
                continue  # It is being unloaded, which the next view shows.
            now = self.view().get(name)
            if now is not None and now.id == adapter.id:
                return adapter
            self.leases.release(adapter)

    def release(self, adapter: Adapter) -> None:
        self.leases.release(adapter)

    async def lease_loaded(self, name: str) -> Adapter:
        """Return an adapter as :meth:`lease` does, once the engine has loaded it.

        Raises:
            AdapterError: it does not exist, or cannot be loaded.
        """
        while True:
            adapter = self.lease(name)
            if adapter.loaded or adapter.by_handler:
                return adapter
            # Registered without preload, or before the engine was restarted.
            self.release(adapter)
            if request := current_leases(self.leases):
                request.forget(name)
            await self._operations.load_on_first_use(name)

    async def keep_loaded(self, name: str) -> Adapter:
        """Return a loaded adapter, leased until the current HTTP request ends.

        Raises:
            AdapterError: it does not exist, or cannot be loaded.
        """
        if request := current_leases(self.leases):
            adapter = self._lease_for(request, name)
            if adapter.loaded or adapter.by_handler:
                return adapter
        adapter = await self.lease_loaded(name)
        self.release(adapter)
        return adapter

    async def select(self, name: str) -> None:
        """Make an adapter the one that answers the current HTTP request.

        Raises:
            AdapterError: there is none, or it cannot be loaded.
        """
        request = current_leases(self.leases)
        try:
            adapter = await self.keep_loaded(name)
        except AdapterNotFoundError:
            if self.backend is None or name not in self.backend.own_adapters():
                raise
            if request is not None:
                request.selected_own = name
        else:
            if request is not None:
                request.selected = adapter

    def enter_request(self) -> RequestLeases:
        """Begin a request in the current task, which is not one of the HTTP app.

        Its leases last until their ``release`` is called.
        """
        leases = RequestLeases(self.leases)
        CURRENT.set(leases)
        return leases

    def selected(self) -> Adapter | None:
        """Return the adapter of the current HTTP request, if it has selected one."""
        request = current_leases(self.leases)
        return None if request is None else request.selected

    def has_selected(self) -> bool:
        """Whether the current HTTP request has selected an adapter of either kind."""
        return self.selected() is not None or self.selected_own() is not None

    def selected_own(self) -> str | None:
        """Return the engine's own adapter that the request has selected, if any."""
        request = current_leases(self.leases)
        return None if request is None else request.selected_own

    def leased_by_request(self) -> Mapping[str, Adapter]:
        """Return the adapters that the current HTTP request has leased, by name."""
        request = current_leases(self.leases)
        return {} if request is None else request.by_name

    def outliving_request(self, work: Work[T]) -> Coroutine[Any, Any, T]:
        """Wrap work for a task, so that it keeps the current request's leases."""
        request = current_leases(self.leases)
        return work() if request is None else request.extend(work)

    def _is_in_loop(self) -> bool:
        return threading.get_ident() == self._thread

    def resolves_natively(self, name: str) -> bool:
        """Return whether the engine itself handles this name."""
        return self.backend is not None and self.backend.resolves_natively(name)

    def _check_usable(self, adapter: Adapter | None, name: str) -> Adapter:
        if adapter is None:
            raise AdapterNotFoundError(
                f"Adapter {name!r} does not exist: register it by POST /adapters. "
                f"{self._describe_names()}"
            )
        if not adapter.answers:
            raise AdapterNotFoundError(
                f"Adapter {name!r} can no longer be loaded: {adapter.reason} "
                "Register it again, or delete it."
            )
        self._check_files(adapter)
        return adapter

    def _check_files(self, adapter: Adapter) -> None:
        # The engine reloads an evicted adapter, and may crash if its files are missing.
        if self._may_evict() and not (adapter.by_handler or has_files(adapter.path)):
            raise AdapterNotFoundError(
                f"The files of adapter {adapter.name!r} are missing in {adapter.path}."
            )

    def _describe_names(self) -> str:
        own = self.backend.own_adapters() if self.backend is not None else ()
        names = [*own, *(name for name, one in self.view().items() if one.answers)]
        shown = join_names([repr(name) for name in names])
        return f"Available: {shown}." if names else "No adapter is available yet."

    def _may_evict(self) -> bool:
        """Return whether more adapters were registered than the engine keeps."""
        if self.backend is None or (cache_size := self.backend.cache_size) is None:
            return False
        return (
            self._adapters.registrations + len(self.backend.own_adapters()) > cache_size
        )

    def get(self, name: str) -> Adapter:
        """Return a registered adapter.

        Raises:
            AdapterNotFoundError: it does not exist.
        """
        return self._adapters.get(name)

    async def register(
        self, spec: AdapterSpec, by_handler: ByHandler | None = None
    ) -> None:
        """Register an adapter, loaded by the engine or by a registered handler.

        Raises:
            AdapterError: it cannot be registered; the registration is undone.
        """
        check_name(spec.name)
        await self._operations.register(spec, by_handler)

    async def unregister(self, name: str, by_handler: ByHandler | None = None) -> None:
        """Unregister an adapter, and wait up to 30 s for the requests that use it.

        Raises:
            AdapterNotFoundError: it does not exist.
        """
        await self._operations.unregister(name, by_handler)

    async def update(
        self, name: str, *, pin: bool | None = None, preload: bool | None = None
    ) -> None:
        """Pin, unpin or load an adapter, or change whether a restart loads it.

        Raises:
            AdapterError: it does not exist, or the engine refuses.
        """
        await self._operations.update(name, pin, preload)

    async def close(self) -> None:
        """End the operations that are running, and release all resources."""
        await self._operations.close()
        self.leases.close()
