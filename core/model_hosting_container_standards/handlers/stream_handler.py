"""The customer's handler of bidirectional streams."""

from __future__ import annotations

import inspect

from ..asgi.endpoint import describe, is_coroutine_function
from ..contract.routes import STREAM
from ..exceptions import HandlerNotCallableError
from .customer_handler import as_instance
from .registry import Handler, handler_registry


def find_stream_handler() -> Handler | None:
    """Return the handler that ``@stream`` has registered, if there is one.

    Raises:
        HandlerNotCallableError: it cannot be called with a WebSocket and awaited.
    """
    registered = handler_registry.get_customer(STREAM)
    if registered is None:
        return None
    handler = as_instance(registered)
    if not is_coroutine_function(handler) or not _takes_one_argument(handler):
        raise HandlerNotCallableError(
            f"@{STREAM}: {describe(handler)} must be an async function with one "
            f"argument, the WebSocket: async def {STREAM}(websocket)."
        )
    return handler


def _takes_one_argument(handler: Handler) -> bool:
    try:
        inspect.signature(handler).bind("websocket")
    except TypeError:
        return False
    return True
