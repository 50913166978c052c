"""Adapters are leased while vLLM computes by them."""

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
from .registry import MakeRequest


def lease_generations(
    adapters: RegisteredAdapters, method: Callable[..., Any], make_request: MakeRequest
) -> Callable[..., Any]:
    """Have the engine told of an adapter while, and only while, there is one.

    Here and not in front of a route: this is where all of vLLM's routes meet.
    """
    position = [*inspect.signature(method).parameters].index("lora_request")

    @functools.wraps(method)
    def generate(*args: Any, **kwargs: Any) -> Any:
        by_position = len(args) > position
        request = args[position] if by_position else kwargs.get("lora_request")
        if request is None or request.lora_int_id < FIRST_ID:
            return method(*args, **kwargs)
        return leased(request, [*args], kwargs)

    async def leased(request: Any, args: Any, kwargs: Any) -> AsyncIterator[Any]:
        # A lease of its own beside that of the HTTP request: of one that has ended, the
        # engine may still be computing, and there are others than HTTP's.
        adapter = await _lease(adapters, request.lora_name)
        try:
            engines = make_request(adapter, adapter.engine_name)
            if len(args) > position:
                args[position] = engines
            else:
                kwargs["lora_request"] = engines
            # Releases from 0.11.1 to 0.15 pass a request that has been made already.
            if args and getattr(args[0], "lora_request", None) is not None:
                args[0].lora_request = engines
            async with contextlib.aclosing(method(*args, **kwargs)) as outputs:
                async for output in outputs:
                    yield output
        finally:
            adapters.release(adapter)

    return generate


def keep_leases(
    adapters: RegisteredAdapters, method: Callable[..., Any]
) -> Callable[..., Any]:
    """Let what goes on after its request, with several generations, keep its leases."""

    @functools.wraps(method)
    def run(*args: Any, **kwargs: Any) -> Any:
        return adapters.outliving_request(functools.partial(method, *args, **kwargs))

    return run


async def _lease(adapters: RegisteredAdapters, name: str) -> Adapter:
    try:
        return await adapters.lease_loaded(name)
    except AdapterEngineError:
        raise
    except AdapterError as error:
        raise client_error(error) from error
