"""Find an engine's inference routes, by the types of their requests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

from fastapi import FastAPI

from .endpoint import unwrap
from .request_fields import declared_fields
from .routing import find_routes, iter_routes

#: The request field with the model's name.
_MODEL: Final = "model"
#: First path segments of the contract's routes.
_OF_THE_CONTRACT: Final = frozenset({"adapters", "invocations", "ping"})


def find_inference_paths(
    app: FastAPI, is_of_engine: Callable[[str], bool], untyped: Collection[str] = ()
) -> frozenset[str]:
    """Return the paths of an engine's ``POST`` routes whose request has a model field.

    Routes that manage the server, its weights, caches or adapters have no such field.
    Routes with path parameters are left out.

    Args:
        is_of_engine: whether a module, by its name, belongs to the engine.
        untyped: paths that count if the app has them, although their requests are not
            such models.
    """
    present = (path for path in untyped if find_routes(app, path, ["POST"]))
    return frozenset(_inference_paths(app, is_of_engine)).union(present)


def _inference_paths(
    app: FastAPI, is_of_engine: Callable[[str], bool]
) -> Iterator[str]:
    for route in iter_routes(app):
        path, endpoint = getattr(route, "path", None), getattr(route, "endpoint", None)
        if (
            path is not None
            and endpoint is not None
            and "POST" in (getattr(route, "methods", None) or ())
            and _is_fixed(path)
            and is_of_engine(unwrap(endpoint).__module__)
            and _names_model(endpoint)
        ):
            yield path


def _is_fixed(path: str) -> bool:
    """Whether a path is public, without parameters, and not one of the contract."""
    parts = path.strip("/").split("/")
    internal = any(part.startswith(("_", "{")) or "{" in part for part in parts)
    return not internal and parts[0] not in _OF_THE_CONTRACT


def _names_model(endpoint: Callable[..., Any]) -> bool:
    """Whether a parameter is a model with the field, or a union of such models."""
    declared = declared_fields(endpoint, _MODEL)
    return any(None not in alternatives for alternatives in declared)
