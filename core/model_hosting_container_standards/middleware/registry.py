"""Registry of middleware and formatters: one function per place in the app."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..asgi.endpoint import describe
from ..exceptions import FormatterRegistrationError, MiddlewareRegistrationError

THROTTLE: Final = "throttle"
PRE_POST_PROCESS: Final = "pre_post_process"
INPUT_FORMATTER: Final = "input_formatter"
OUTPUT_FORMATTER: Final = "output_formatter"
MIDDLEWARE: Final = (THROTTLE, PRE_POST_PROCESS)


class MiddlewareRegistry:
    """Holds one registration per place, for all apps of the process.

    A second registration is an error, because it is ambiguous which one is meant; but a
    module that is loaded again may register the same function again.
    """

    __slots__ = ("_by_place",)

    def __init__(self) -> None:
        self._by_place: dict[str, Callable[..., Any]] = {}

    def add(self, place: str, registered: Any) -> None:
        """Register a middleware or formatter.

        Raises:
            MiddlewareError: ``registered`` is not a callable, or the place is taken.
        """
        error = registration_error(place)
        if not callable(registered):
            raise error(
                f"The {place} must be a callable, not {registered!r}."
                + (" Write the decorator without parentheses." * (not registered))
            )
        other = self._by_place.get(place)
        if other is not None and not _is_same(other, registered):
            raise error(
                f"Two functions are registered as {place}: {describe(other)} and "
                f"{describe(registered)}. Register one that calls both."
            )
        self._by_place[place] = registered

    def get(self, place: str) -> Callable[..., Any] | None:
        return self._by_place.get(place)

    def clear(self) -> None:
        self._by_place.clear()

    #: Its name in 0.1.x, which vLLM's tests use.
    clear_middlewares = clear


def registration_error(
    place: str,
) -> type[MiddlewareRegistrationError] | type[FormatterRegistrationError]:
    """Return the error class for a place: middleware or formatter."""
    if place in MIDDLEWARE:
        return MiddlewareRegistrationError
    return FormatterRegistrationError


def _is_same(one: Any, other: Any) -> bool:
    """Whether both are the same function, even if its module was loaded twice."""
    if one is other:
        return True
    names = [(f.__module__, f.__qualname__) for f in (one, other) if _is_named(f)]
    return len(names) == 2 and names[0] == names[1]


def _is_named(function: Any) -> bool:
    """Whether its qualified name is unique: not for lambdas and local functions."""
    return "<" not in getattr(function, "__qualname__", "<")


middleware_registry: Final = MiddlewareRegistry()
