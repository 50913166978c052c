"""Resolves middleware and formatters from the environment and from decorators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

import msgspec

from ..exceptions import (
    FormatterRegistrationError,
    HandlerResolutionError,
    MiddlewareNotFoundError,
)
from ..handlers.customer_handler import load_spec
from ..settings import Settings, Variable
from .registry import (
    INPUT_FORMATTER,
    MIDDLEWARE,
    OUTPUT_FORMATTER,
    PRE_POST_PROCESS,
    THROTTLE,
    middleware_registry,
)

#: Each place, and the variable that takes precedence over its decorator.
PLACES: Final[Mapping[str, Variable[str | None]]] = {
    THROTTLE: Settings.throttle,
    PRE_POST_PROCESS: Settings.pre_post_process,
    INPUT_FORMATTER: Settings.pre_process,
    OUTPUT_FORMATTER: Settings.post_process,
}
_DECORATORS: Final = {place: f'custom_middleware("{place}")' for place in MIDDLEWARE}


class FoundMiddleware(msgspec.Struct, frozen=True):
    """The function for a place, and the variable or decorator that named it."""

    function: Callable[..., Any]
    source: str


def find_middleware(
    settings: Settings, script: ModuleType | None
) -> dict[str, FoundMiddleware]:
    """Return the function of each place that has one.

    A variable for one place does not disable the decorators of the others.

    Raises:
        MiddlewareError: a spec cannot be resolved.
    """
    specified = {
        place: _load(place, settings, script)
        for place, variable in PLACES.items()
        if variable.read(settings)
    }
    # After loading the specs, since a module just loaded may use the decorators.
    found = {**_decorated(), **specified}
    return {place: found[place] for place in PLACES if place in found}


def _decorated() -> dict[str, FoundMiddleware]:
    registered = {place: middleware_registry.get(place) for place in PLACES}
    return {
        place: FoundMiddleware(function, f"@{_DECORATORS.get(place, place)} decorator")
        for place, function in registered.items()
        if function is not None
    }


def _load(place: str, settings: Settings, script: ModuleType | None) -> FoundMiddleware:
    variable = PLACES[place]
    spec = str(variable.read(settings))
    source = f"{variable.name}={spec}"
    not_found = (
        MiddlewareNotFoundError if place in MIDDLEWARE else FormatterRegistrationError
    )
    try:
        return FoundMiddleware(load_spec(spec, settings, script), source)
    except HandlerResolutionError as error:
        raise not_found(f"{source}: {error}") from (error.__cause__ or error)
