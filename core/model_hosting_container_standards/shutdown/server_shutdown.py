"""Callbacks for the moment at which uvicorn begins to shut down.

uvicorn then closes its port and waits for running requests without a limit. The app is
not notified: its lifespan ends only afterwards.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, Final

import wrapt

#: Callbacks by the server's event loop.
_callbacks: Final[dict[asyncio.AbstractEventLoop, list[Callable[[], None]]]] = {}


def add_callback(callback: Callable[[], None]) -> None:
    """Call ``callback`` when a uvicorn of the running loop begins to shut down."""
    _callbacks.setdefault(asyncio.get_running_loop(), []).append(callback)
    # With another server uvicorn is not imported.
    server = getattr(sys.modules.get("uvicorn"), "Server", None)
    shutdown = getattr(server, "shutdown", None)
    if shutdown is not None and not isinstance(shutdown, wrapt.BoundFunctionWrapper):
        wrapt.wrap_function_wrapper(server, "shutdown", _run_callbacks)


def remove_callback(callback: Callable[[], None]) -> None:
    """Undo :func:`add_callback`."""
    loop = asyncio.get_running_loop()
    _callbacks[loop].remove(callback)
    if not _callbacks[loop]:
        del _callbacks[loop]


def _run_callbacks(
    wrapped: Callable[..., Any], _server: Any, args: Any, kwargs: Any
) -> Any:
    for callback in [*_callbacks.get(asyncio.get_running_loop(), ())]:
        callback()
    return wrapped(*args, **kwargs)
