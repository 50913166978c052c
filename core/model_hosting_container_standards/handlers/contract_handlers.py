"""The decorators that customers and frameworks register their handlers by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, overload

from ..contract.routes import INVOKE, PING, STREAM
from .decorators import override_handler, register_handler
from .registry import handler_registry

H = TypeVar("H", bound=Callable[..., Any])


def ping(func: H) -> H:
    """Register a customer's handler of ``/ping``; it is returned unchanged."""
    return override_handler(PING)(func)


def invoke(func: H) -> H:
    """Register a customer's handler of ``/invocations``; it is returned unchanged."""
    return override_handler(INVOKE)(func)


def stream(func: H) -> H:
    """Register a customer's handler of bidirectional streams; return it unchanged.

    It is an async function that takes a Starlette ``WebSocket``, and accepts it.
    """
    handler_registry.set_customer(STREAM, func)
    return func


custom_ping_handler: Final = ping
custom_invocation_handler: Final = invoke


@overload
def register_ping_handler(func: H) -> H: ...
@overload
def register_ping_handler(func: None = None) -> Callable[[H], H]: ...
def register_ping_handler(func: H | None = None) -> H | Callable[[H], H]:
    """Register a framework's handler of ``/ping``; a customer's comes first."""
    register: Callable[[H], H] = register_handler(PING)
    return register if func is None else register(func)


@overload
def register_invocation_handler(func: H) -> H: ...
@overload
def register_invocation_handler(func: None = None) -> Callable[[H], H]: ...
def register_invocation_handler(func: H | None = None) -> H | Callable[[H], H]:
    """Register a framework's handler of ``/invocations``; a customer's comes first."""
    register: Callable[[H], H] = register_handler(INVOKE)
    return register if func is None else register(func)
