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
from fastapi import FastAPI
from starlette.routing import Mount

Callback = Callable[[], None]

#: What to call, and for which app, by the loop of the server.
_callbacks: Final[dict[asyncio.AbstractEventLoop, list[tuple[FastAPI, Callback]]]] = {}


def add_callback(app: FastAPI, callback: Callback) -> None:
    """Call ``callback`` when a uvicorn of the running loop that serves ``app`` ends.

    Other servers of the loop, of metrics or for an operator, end by themselves.
    """
    _callbacks.setdefault(asyncio.get_running_loop(), []).append((app, callback))
    # Other servers do not import it.
    server = getattr(sys.modules.get("uvicorn"), "Server", None)
    shutdown = getattr(server, "shutdown", None)
    if shutdown is not None and not isinstance(shutdown, wrapt.BoundFunctionWrapper):
        wrapt.wrap_function_wrapper(server, "shutdown", _call_back)


def remove_callback(app: FastAPI, callback: Callback) -> None:
    """Undo :func:`add_callback`."""
    loop = asyncio.get_running_loop()
    _callbacks[loop].remove((app, callback))
    if not _callbacks[loop]:
        del _callbacks[loop]


async def _call_back(
    wrapped: Callable[..., Any], server: Any, args: Any, kwargs: Any
) -> Any:
    served = getattr(server.config, "loaded_app", None)
    for app, callback in [*_callbacks.get(asyncio.get_running_loop(), ())]:
        if _contains(served, app):
            callback()
    return await wrapped(*args, **kwargs)


def _contains(served: Any, app: FastAPI) -> bool:
    """Whether what a server serves is an app, or has it inside: wrapped or mounted."""
    if served is None or served is app:
        return served is app
    mounts = (it for it in getattr(served, "routes", ()) if isinstance(it, Mount))
    inner = (getattr(served, "app", None), *(mount.app for mount in mounts))
    return any(_contains(one, app) for one in inner)
