"""Requests that use adapters, on all routes of SGLang."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from fastapi import HTTPException

from model_hosting_container_standards.engines import (
    Adapter,
    RegisteredAdapters,
    join_names,
)
from model_hosting_container_standards.exceptions import (
    AdapterError,
    AdapterNotFoundError,
)

from .references import References


class AdapterRequests:
    """Leases the adapters of requests, and names them as the engine does.

    Args:
        adapters: the registered adapters.
        references: the engine's references to them in this process.
    """

    def __init__(self, adapters: RegisteredAdapters, references: References) -> None:
        self._adapters = adapters
        self._references = references
        self._view: Mapping[str, Adapter] | None = None

    def wrap(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap ``generate_request`` of the tokenizer manager.

        All of SGLang's routes go through it. ``lora_path`` of its request is the name
        of an adapter, or a list with one for each prompt.
        """

        @functools.wraps(method)
        def generate_request(request: Any, *args: Any, **kwargs: Any) -> Any:
            is_for_base = not getattr(request, "lora_path", None)
            if is_for_base and self._adapters.selected() is None:
                return method(request, *args, **kwargs)
            return self._leased(method, request, args, kwargs)

        return generate_request

    async def _leased(
        self, method: Callable[..., Any], request: Any, args: Any, kwargs: Any
    ) -> AsyncIterator[Any]:
        async with contextlib.AsyncExitStack() as leases:
            request.lora_path = await self._engine_names(request, leases)
            outputs = method(request, *args, **kwargs)
            async with contextlib.aclosing(outputs):
                async for output in outputs:
                    yield output

    async def _engine_names(
        self, request: Any, leases: contextlib.AsyncExitStack
    ) -> Any:
        """Lease the adapters of a request, and return their names in the engine."""
        given: str | Sequence[str | None] = request.lora_path
        try:
            if (selected := self._adapters.selected()) is not None:
                return await self._lease(selected.name, leases)
            if isinstance(given, str):
                return await self._find(given, leases)
            return [name and await self._find(name, leases) for name in given]
        except AdapterError as error:
            if getattr(request, "stream", False):  # The status has been sent.
                raise ValueError(str(error)) from error
            raise HTTPException(error.status_code, str(error)) from error

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
