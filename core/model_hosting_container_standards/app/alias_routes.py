"""Alias paths of ``/ping`` and ``/invocations``, for other platforms."""

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
#: Other paths of the contract, which cannot be aliases, nor can paths below them.
_RESERVED: Final = ("/adapters", "/metrics")


def alias_routes(
    settings: Settings, inference_paths: Collection[str]
) -> Mapping[str, str]:
    """Return the contract's path for each alias path.

    Args:
        inference_paths: the engine's inference routes, which are never made an alias.

    Raises:
        ConfigurationError: an alias is not allowed, or is another route of the
            contract.
    """
    aliases: dict[str, str] = {}
    for path, variable in _VARIABLES.items():
        alias = variable.read(settings)
        if alias is None or alias == path:
            continue
        if alias in (*_VARIABLES, *aliases) or _is_reserved(alias):
            allowed = f"that is another route; use a path that only {path} has"
            raise ConfigurationError(variable.name, alias, allowed)
        if alias not in inference_paths:
            aliases[alias] = path
    return aliases


def _is_reserved(path: str) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in _RESERVED)
