"""Runs customers' sync functions in threads."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread

T = TypeVar("T")


async def run_in_extra_thread(
    function: Callable[..., T], *args: Any, **kwargs: Any
) -> T:
    """Run a function in a thread outside the handlers' thread pool.

    That pool has 40 threads. If sync middleware held them while sync handlers inside it
    wait for one, every request would block, including ``/ping``.
    """
    call = functools.partial(function, *args, **kwargs)
    return await to_thread.run_sync(call, limiter=CapacityLimiter(1))
