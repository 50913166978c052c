"""Map the path of a request to a route label, for metrics, traces and guards."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from starlette.types import Scope

from ..contract.routes import (
    BIDIRECTIONAL_STREAM,
    INVOCATIONS_ROUTE,
    PING_ROUTE,
    REALTIME,
)

PING: Final = PING_ROUTE.path
INVOCATIONS: Final = INVOCATIONS_ROUTE.path
ADAPTERS: Final = "/adapters"
ADAPTER: Final = "/adapters/{name}"
#: Labels of the routes whose compressed bodies are decompressed.
DECOMPRESSED: Final = frozenset({INVOCATIONS, ADAPTERS, ADAPTER})
#: All other paths: clients can invent any number, but labels must stay few.
OTHER: Final = "other"


def known_routes(
    inference_paths: Collection[str], aliases: Mapping[str, str]
) -> Mapping[str, str]:
    """Return the labels of fixed paths: the path itself, or what an alias stands for.

    Args:
        inference_paths: the engine's inference routes.
        aliases: paths of the contract by their aliases, see :func:`alias_routes`.
    """
    streams = (BIDIRECTIONAL_STREAM, REALTIME)
    paths = (*inference_paths, *streams, PING, INVOCATIONS, ADAPTERS)
    return {**aliases, **{path: path for path in paths}}


def route_of(scope: Scope, known: Mapping[str, str]) -> str:
    """Return the route label of a request."""
    path = local_path(scope)
    if path.startswith(f"{ADAPTERS}/"):
        return ADAPTER
    return known.get(path, OTHER)


def local_path(scope: Scope) -> str:
    """Return the path relative to where the app is mounted."""
    path: str = scope["path"]
    root = scope.get("root_path", "")
    if root and path.startswith(f"{root}/"):
        return path[len(root) :]
    return path
