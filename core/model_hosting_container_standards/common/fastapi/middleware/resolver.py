"""Which middleware and formatters an app gets: environment, or decorator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

import msgspec

from ....config import Settings, Variable
from ....exceptions import (
    FormatterRegistrationError,
    HandlerResolutionError,
    MiddlewareNotFoundError,
)
from ....logging_config import get_logger
from ...handler.resolver import load_spec
from ..endpoint import describe
from .registry import (
    INPUT_FORMATTER,
    MIDDLEWARE,
    OUTPUT_FORMATTER,
    PRE_POST_PROCESS,
    THROTTLE,
    middleware_registry,
)

logger = get_logger(__name__)

#: Each place, and the variable that goes before its decorator.
PLACES: Final[Mapping[str, Variable[str | None]]] = {
    THROTTLE: Settings.throttle,
    PRE_POST_PROCESS: Settings.pre_post_process,
    INPUT_FORMATTER: Settings.pre_process,
    OUTPUT_FORMATTER: Settings.post_process,
}


class Found(msgspec.Struct, frozen=True):
    """What goes to a place, and who says so."""

    function: Callable[..., Any]
    source: str


def find_middleware(settings: Settings, script: ModuleType | None) -> dict[str, Found]:
    """Return what goes to each place that has something.

    Each is looked for by itself: a variable for one takes nothing from the others.

    Raises:
        MiddlewareError: a spec names nothing that can be used.
    """
    places = ((place, _find(place, settings, script)) for place in PLACES)
    return {place: found for place, found in places if found is not None}


def _find(place: str, settings: Settings, script: ModuleType | None) -> Found | None:
    variable = PLACES[place]
    registered = middleware_registry.get(place)
    if spec := variable.read(settings):
        source = f"{variable.name}={spec}"
        if registered is not None:
            logger.info("%s goes before the decorated %s", source, describe(registered))
        return Found(_load(place, source, spec, settings, script), source)
    if registered is None:
        return None
    decorator = f'custom_middleware("{place}")' if place in MIDDLEWARE else place
    return Found(registered, f"@{decorator} decorator")


def _load(
    place: str, source: str, spec: str, settings: Settings, script: ModuleType | None
) -> Callable[..., Any]:
    not_found = (
        MiddlewareNotFoundError if place in MIDDLEWARE else FormatterRegistrationError
    )
    try:
        return load_spec(spec, settings, script)
    except HandlerResolutionError as error:
        raise not_found(f"{source}: {error}") from (error.__cause__ or error)
