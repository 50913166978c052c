"""The registry of handlers that customers and frameworks registered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

Handler = Callable[..., Any]
T = TypeVar("T")


class Registrations(Generic[T]):
    """Registrations of frameworks, by name, until an app claims them."""

    __slots__ = ("_by_name",)

    def __init__(self) -> None:
        self._by_name: dict[str, list[T]] = {}

    def add(self, name: str, item: T) -> None:
        self._by_name.setdefault(name, []).append(item)

    def newest_first(self, name: str) -> list[T]:
        return self._by_name.get(name, [])[::-1]

    def replace(self, old: T, new: T) -> None:
        for name, items in self._by_name.items():
            self._by_name[name] = [new if item is old else item for item in items]

    def remove(self, name: str, item: T) -> None:
        """Remove a registration that an app has claimed."""
        self._by_name[name].remove(item)

    def clear(self) -> None:
        self._by_name.clear()


class HandlerRegistry:
    """Handlers registered by decorators: the customer's, and the framework's.

    The customer's last registration of a name wins, in every app of the process. A
    framework's handler belongs to the app that has a route for it, or else to the next
    app that is bootstrapped. A module-level function without a route is available to
    every app.

    Adapter and session handlers have registrations of their own, made by
    :meth:`new_registrations`.
    """

    __slots__ = ("_customer", "_others", "framework")

    def __init__(self) -> None:
        self._customer: dict[str, Handler] = {}
        self.framework: Registrations[Handler] = Registrations()
        self._others: list[Registrations[Any]] = []

    def new_registrations(self) -> Registrations[Any]:
        """Return registrations of another kind, which :meth:`clear` clears too."""
        self._others.append(Registrations())
        return self._others[-1]

    def set_customer(self, name: str, handler: Handler) -> None:
        self._customer[name] = _check_callable(name, handler)

    def get_customer(self, name: str) -> Handler | None:
        return self._customer.get(name)

    def add_framework(self, name: str, handler: Handler) -> None:
        self.framework.add(name, _check_callable(name, handler))

    def replace(self, old: Handler, new: Handler) -> None:
        """Replace a registered handler by its decorated version."""
        for name, handler in self._customer.items():
            if handler is old:
                self._customer[name] = new
        self.framework.replace(old, new)

    def clear(self) -> None:
        """Forget all handlers, of every kind."""
        self._customer.clear()
        for registrations in (self.framework, *self._others):
            registrations.clear()


def _check_callable(name: str, handler: Any) -> Handler:
    if not callable(handler):
        raise TypeError(
            f"The {name} handler must be a callable, not {handler!r}. "
            "Write a decorator without arguments without parentheses."
        )
    return handler  # type: ignore[no-any-return]


handler_registry: Final = HandlerRegistry()
