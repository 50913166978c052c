"""Which routes of an app run a model, found by what they take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from fastapi import FastAPI

from .endpoint import unwrap
from .request_fields import declared_fields
from .routing import iter_routes

#: The field by which a request says which model is to run.
_MODEL: Final = "model"
#: Routes of the contract, whoever answers them, and what is below them.
_OF_THE_CONTRACT: Final = frozenset({"adapters", "invocations", "ping"})


def find_inference_paths(
    app: FastAPI, is_of_engine: Callable[[str], bool]
) -> frozenset[str]:
    """Return the paths of an engine's ``POST`` routes whose request names a model.

    A route that manages the server, its weights, caches or adapters, takes nothing,
    something else, or reads its request by itself. What is not known to run a model is
    left out, and so is what has path parameters.

    Args:
        is_of_engine: whether a module, by its name, belongs to the engine.
    """
    return frozenset(_inference_paths(app, is_of_engine))


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
    """Whether a path is one of the engine's own, public and without parameters."""
    parts = path.strip("/").split("/")
    internal = any(part.startswith(("_", "{")) or "{" in part for part in parts)
    return not internal and parts[0] not in _OF_THE_CONTRACT


def _names_model(endpoint: Callable[..., Any]) -> bool:
    """Whether a parameter is a request with the field, each of them in a union."""
    declared = declared_fields(endpoint, _MODEL)
    return any(None not in alternatives for alternatives in declared)
