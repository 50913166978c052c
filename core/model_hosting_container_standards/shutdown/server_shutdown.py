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
from fastapi import FastAPI
from starlette.routing import Mount

Callback = Callable[[], None]

#: Apps and their callbacks, by the server's event loop.
_callbacks: Final[dict[asyncio.AbstractEventLoop, list[tuple[FastAPI, Callback]]]] = {}


def add_callback(app: FastAPI, callback: Callback) -> None:
    """Call ``callback`` when the uvicorn that serves ``app`` begins to shut down.

    Other servers of the running loop, as for metrics, are ignored.
    """
    _callbacks.setdefault(asyncio.get_running_loop(), []).append((app, callback))
    # With another server uvicorn is not imported.
    server = getattr(sys.modules.get("uvicorn"), "Server", None)
    shutdown = getattr(server, "shutdown", None)
    if shutdown is not None and not isinstance(shutdown, wrapt.BoundFunctionWrapper):
        wrapt.wrap_function_wrapper(server, "shutdown", _run_callbacks)


def remove_callback(app: FastAPI, callback: Callback) -> None:
    """Undo :func:`add_callback`."""
    loop = asyncio.get_running_loop()
    _callbacks[loop].remove((app, callback))
    if not _callbacks[loop]:
        del _callbacks[loop]


async def _run_callbacks(
    wrapped: Callable[..., Any], server: Any, args: Any, kwargs: Any
) -> Any:
    served = getattr(server.config, "loaded_app", None)
    for app, callback in [*_callbacks.get(asyncio.get_running_loop(), ())]:
        if _contains(served, app):
            callback()
    return await wrapped(*args, **kwargs)


def _contains(served: Any, app: FastAPI) -> bool:
    """Whether a served ASGI app is ``app``, or wraps or mounts it."""
    if served is None or served is app:
        return served is app
    routes = getattr(served, "routes", ())
    mounted = [route.app for route in routes if isinstance(route, Mount)]
    inner = (getattr(served, "app", None), *mounted)
    return any(_contains(each, app) for each in inner)
