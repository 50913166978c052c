"""Which callable was registered for which name, and by whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

Handler = Callable[..., Any]

PING: Final = "ping"
INVOKE: Final = "invoke"
LOAD_ADAPTER: Final = "load_adapter"
UNLOAD_ADAPTER: Final = "unload_adapter"


class HandlerRegistry:
    """Handlers registered by decorators: the customer's, and the framework's.

    The last registration of a name wins. What a customer registers holds for every app
    of the process. What a framework registers inside a function, while it builds an
    app, belongs to the app that is bootstrapped next; what it registers at module level
    is there for every app.
    """

    __slots__ = ("_customer", "_framework")

    def __init__(self) -> None:
        self._customer: dict[str, Handler] = {}
        self._framework: dict[str, Handler] = {}

    def set_customer(self, name: str, handler: Handler) -> None:
        self._customer[name] = _check_callable(name, handler)

    def get_customer(self, name: str) -> Handler | None:
        return self._customer.get(name)

    def set_framework(self, name: str, handler: Handler) -> None:
        self._framework[name] = _check_callable(name, handler)

    def get_framework(self, name: str) -> Handler | None:
        return self._framework.get(name)

    def forget_framework(self, name: str) -> None:
        """Drop a framework's handler: an app has it now, and no other shall."""
        self._framework.pop(name, None)

    def reset(self) -> None:
        self._customer.clear()
        self._framework.clear()


def _check_callable(name: str, handler: Any) -> Handler:
    if not callable(handler):
        raise TypeError(
            f"The {name} handler must be a callable, not {handler!r}. "
            "A decorator without arguments is written without parentheses."
        )
    return handler  # type: ignore[no-any-return]


handler_registry: Final = HandlerRegistry()
