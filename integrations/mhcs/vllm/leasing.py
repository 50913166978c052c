"""Leases adapters while vLLM generates with them."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

from model_hosting_container_standards.engines import (
    FIRST_ID,
    Adapter,
    RegisteredAdapters,
)
from model_hosting_container_standards.exceptions import (
    AdapterEngineError,
    AdapterError,
)

from .errors import client_error
from .lora_requests import MakeRequest


def lease_adapters(
    adapters: RegisteredAdapters, method: Callable[..., Any], make_request: MakeRequest
) -> Callable[..., Any]:
    """Wrap ``generate`` or ``encode`` of vLLM's client to lease the request's adapter.

    All of vLLM's routes go through these methods, so that none has to be wrapped.
    """
    position = [*inspect.signature(method).parameters].index("lora_request")

    @functools.wraps(method)
    def generate(*args: Any, **kwargs: Any) -> Any:
        is_positional = len(args) > position
        request = args[position] if is_positional else kwargs.get("lora_request")
        if request is None or request.lora_int_id < FIRST_ID:
            return method(*args, **kwargs)
        return leased(request, [*args], kwargs)

    async def leased(request: Any, args: Any, kwargs: Any) -> AsyncIterator[Any]:
        # In addition to the HTTP request's lease: the engine may still run after that
        # request has ended, and some generations do not belong to an HTTP request.
        adapter = await _lease(adapters, request.lora_name)
        try:
            lora_request = make_request(adapter, adapter.engine_name)
            if len(args) > position:
                args[position] = lora_request
            else:
                kwargs["lora_request"] = lora_request
            # Releases from 0.11.1 to 0.15 pass a complete engine request instead.
            if args and getattr(args[0], "lora_request", None) is not None:
                args[0].lora_request = lora_request
            async with contextlib.aclosing(method(*args, **kwargs)) as outputs:
                async for output in outputs:
                    yield output
        finally:
            adapters.release(adapter)

    return generate


async def _lease(adapters: RegisteredAdapters, name: str) -> Adapter:
    try:
        return await adapters.lease_loaded(name)
    except AdapterEngineError:
        raise
    except AdapterError as error:
        raise client_error(error) from error
