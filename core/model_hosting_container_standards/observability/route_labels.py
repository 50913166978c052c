"""Which route a path belongs to, as labels and guards need to know it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from starlette.types import Scope

from ..contract.routes import INVOCATIONS_ROUTE, PING_ROUTE

PING: Final = PING_ROUTE.path
INVOCATIONS: Final = INVOCATIONS_ROUTE.path
ADAPTERS: Final = "/adapters"
ADAPTER: Final = "/adapters/{name}"
#: Labels of the routes whose bodies are unpacked if they are compressed, unless a
#: customer's own handler answers.
UNPACKED: Final = frozenset({INVOCATIONS, ADAPTERS, ADAPTER})
#: Whatever else there is: paths are a client's to invent, and labels must be few.
OTHER: Final = "other"


def known_routes(
    inference_paths: Collection[str], aliases: Mapping[str, str]
) -> Mapping[str, str]:
    """Return the label of each path that is a route by itself.

    It is the path; that of an alias is the path of the contract.
    """
    paths = (*inference_paths, PING, INVOCATIONS, ADAPTERS)
    return {**aliases, **{path: path for path in paths}}


def route_of(scope: Scope, known: Mapping[str, str]) -> str:
    """Return the label of the route that a request is for."""
    path = local_path(scope)
    if path.startswith(f"{ADAPTERS}/"):
        return ADAPTER
    return known.get(path, OTHER)


def local_path(scope: Scope) -> str:
    """Return the path as routes see it: without where the app is mounted."""
    path: str = scope["path"]
    root = scope.get("root_path", "")
    if root and path.startswith(f"{root}/"):
        return path[len(root) :]
    return path
