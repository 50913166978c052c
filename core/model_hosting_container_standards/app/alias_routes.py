"""Further paths of ``/ping`` and ``/invocations``, which other platforms ask for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from ..contract.routes import INVOCATIONS_ROUTE, PING_ROUTE
from ..exceptions import ConfigurationError
from ..settings import Settings

_VARIABLES: Final = {
    PING_ROUTE.path: Settings.health_route,
    INVOCATIONS_ROUTE.path: Settings.predict_route,
}
#: What the contract answers otherwise, and what is below it.
_TAKEN: Final = ("/adapters", "/metrics")


def alias_routes(
    settings: Settings, inference_paths: Collection[str]
) -> Mapping[str, str]:
    """Return the contract's path of each further path.

    One of ``inference_paths``, which are the engine's, stays what it is.

    Raises:
        ConfigurationError: a path is not allowed, or is another route of the contract.
    """
    aliases: dict[str, str] = {}
    for path, variable in _VARIABLES.items():
        alias = variable.read(settings)
        if alias is None or alias == path:
            continue
        if alias in (*_VARIABLES, *aliases) or _is_taken(alias):
            allowed = f"that is another route; use a path that only {path} has"
            raise ConfigurationError(variable.name, alias, allowed)
        if alias not in inference_paths:
            aliases[alias] = path
    return aliases


def _is_taken(path: str) -> bool:
    return any(path == taken or path.startswith(f"{taken}/") for taken in _TAKEN)
