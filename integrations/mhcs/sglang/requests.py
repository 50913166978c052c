"""Requests that use adapters, on all routes of SGLang."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

from mhcs.own_routes import http_errors
from model_hosting_container_standards.engines import (
    Adapter,
    BackgroundTasks,
    RegisteredAdapters,
    join_names,
)
from model_hosting_container_standards.exceptions import (
    AdapterError,
    AdapterNotFoundError,
)

from .references import References

#: Seconds that the scheduler may take to end an aborted request. Some releases keep the
#: ids of refused requests for ever.
_ABORT_S: Final = 10.0
_POLL_S: Final = 0.1


class AdapterRequests:
    """Leases the adapters of requests, and names them as the engine does.

    Args:
        adapters: the registered adapters.
        references: the engine's references to them in this process.
        manager: the tokenizer manager, which knows the requests that are running.
    """

    def __init__(
        self, adapters: RegisteredAdapters, references: References, manager: Any
    ) -> None:
        self._adapters = adapters
        self._references = references
        self._manager = manager
        self._tasks = BackgroundTasks()
        self._view: Mapping[str, Adapter] | None = None

    def wrap(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap ``generate_request`` of the tokenizer manager.

        All of SGLang's routes go through it. ``lora_path`` of its request is the name
        of an adapter, or a list with one for each prompt.
        """

        @functools.wraps(method)
        def generate_request(request: Any, *args: Any, **kwargs: Any) -> Any:
            # SGLang's own id of an adapter, by which a client would bypass all checks
            # and, with a wrong one, end the scheduler.
            request.lora_id = None
            if own := self._adapters.selected_own():
                request.lora_path = own
            if self._adapters.selected() or getattr(request, "lora_path", None):
                return self._leased(method, request, args, kwargs)
            return method(request, *args, **kwargs)

        return generate_request

    async def _leased(
        self, method: Callable[..., Any], request: Any, args: Any, kwargs: Any
    ) -> AsyncIterator[Any]:
        async with contextlib.AsyncExitStack() as leases:
            request.lora_path = await self._engine_names(request, leases)
            outputs = method(request, *args, **kwargs)
            try:
                async with contextlib.aclosing(outputs):
                    async for output in outputs:
                        yield output
            finally:
                self._release_later(request, leases)

    def _release_later(self, request: Any, leases: contextlib.AsyncExitStack) -> None:
        """Keep the leases of an aborted request until the scheduler has ended it."""
        given = request.rid
        ids = [given] if isinstance(given, str) else [*(given or ())]
        running = self._manager.rid_to_state
        if any(each in running for each in ids):
            self._tasks.start(self._release(ids, leases.pop_all()))

    async def _release(
        self, ids: Sequence[str], leases: contextlib.AsyncExitStack
    ) -> None:
        async with leases:
            for _ in range(round(_ABORT_S / _POLL_S)):
                if not any(each in self._manager.rid_to_state for each in ids):
                    break
                await asyncio.sleep(_POLL_S)

    async def _engine_names(
        self, request: Any, leases: contextlib.AsyncExitStack
    ) -> Any:
        """Lease the adapters of a request, and return their names in the engine."""
        given: str | Sequence[str | None] = request.lora_path
        with http_errors():
            try:
                if (selected := self._adapters.selected()) is not None:
                    return await self._lease(selected.name, leases)
                if isinstance(given, str):
                    return await self._find(given, leases)
                return [name and await self._find(name, leases) for name in given]
            except AdapterError as error:
                if not getattr(request, "stream", False):
                    raise
                # The status has been sent.
                raise ValueError(str(error)) from error

    async def _find(self, name: str, leases: contextlib.AsyncExitStack) -> str:
        registered = self._adapters.view()
        if name in registered:
            return await self._lease(name, leases)
        if name in (own := self._references.own()):
            return name
        names = join_names([*own, *registered]) or "none"
        raise AdapterNotFoundError(
            f"The adapter {name!r} of lora_path does not exist. Available: {names}."
        )

    async def _lease(self, name: str, leases: contextlib.AsyncExitStack) -> str:
        adapter = await self._adapters.lease_loaded(name)
        leases.callback(self._adapters.release, adapter)
        if adapter.by_handler:
            return adapter.name
        leases.enter_context(self._references.used(adapter.engine_name))
        await self._references.add(adapter)
        await self._remove_unused()
        return adapter.engine_name

    async def _remove_unused(self) -> None:
        """Remove references that are not needed, if adapters have changed."""
        if (view := self._adapters.view()) is not self._view:
            self._view = view
            names = {adapter.engine_name for adapter in view.values()}
            await self._references.remove_all_except(names)
