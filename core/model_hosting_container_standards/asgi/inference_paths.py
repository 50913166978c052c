"""Which routes of an app run a model, found by what they take."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, Union, get_args, get_origin

from fastapi import FastAPI
from pydantic import BaseModel

from ..exceptions import HandlerNotCallableError
from .endpoint import resolved_signature, unwrap
from .routing import iter_routes

#: The field by which a request says which model is to run.
_MODEL: Final = "model"
_UNIONS: Final = (Union, types.UnionType)
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
    try:
        parameters = resolved_signature(endpoint).parameters.values()
    except HandlerNotCallableError:
        return False
    return any(_has_model(parameter.annotation) for parameter in parameters)


def _has_model(annotation: Any) -> bool:
    """Whether an annotation is a request with the field, or several such."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _has_model(get_args(annotation)[0])
    if origin in _UNIONS:
        return all(map(_has_model, get_args(annotation)))
    is_request = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return is_request and _MODEL in annotation.model_fields
