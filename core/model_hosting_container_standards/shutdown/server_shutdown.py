"""The moment at which uvicorn begins to shut down, whoever has told it to.

It closes its port then, and waits for running requests, without an end. Of that an app
hears nothing: its lifespan ends afterwards.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, Final

import wrapt

#: What to call, by the loop of the server.
_callbacks: Final[dict[asyncio.AbstractEventLoop, list[Callable[[], None]]]] = {}


def add_callback(callback: Callable[[], None]) -> None:
    """Call ``callback`` when a uvicorn of the running loop begins to shut down."""
    _callbacks.setdefault(asyncio.get_running_loop(), []).append(callback)
    # Other servers do not import it.
    server = getattr(sys.modules.get("uvicorn"), "Server", None)
    shutdown = getattr(server, "shutdown", None)
    if shutdown is not None and not isinstance(shutdown, wrapt.BoundFunctionWrapper):
        wrapt.wrap_function_wrapper(server, "shutdown", _call_back)


def remove_callback(callback: Callable[[], None]) -> None:
    """Undo :func:`add_callback`."""
    loop = asyncio.get_running_loop()
    _callbacks[loop].remove(callback)
    if not _callbacks[loop]:
        del _callbacks[loop]


def _call_back(
    wrapped: Callable[..., Any], _server: Any, args: Any, kwargs: Any
) -> Any:
    for callback in [*_callbacks.get(asyncio.get_running_loop(), ())]:
        callback()
    return wrapped(*args, **kwargs)
