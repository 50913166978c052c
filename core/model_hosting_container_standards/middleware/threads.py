"""Threads for customers' functions that are not async."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread

T = TypeVar("T")


async def run_in_extra_thread(
    function: Callable[..., T], *args: Any, **kwargs: Any
) -> T:
    """Run a function in a thread that is not one of those of the handlers.

    Those are 40. Middleware that holds one while a handler inside waits for one would
    hold up everything, and so ``/ping``.
    """
    call = functools.partial(function, *args, **kwargs)
    return await to_thread.run_sync(call, limiter=CapacityLimiter(1))
