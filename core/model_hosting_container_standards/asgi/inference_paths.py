"""Find an engine's inference routes, by the types of their requests."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, Union, get_args, get_origin

from fastapi import FastAPI
from pydantic import BaseModel

from ..exceptions import HandlerNotCallableError
from .endpoint import resolved_signature, unwrap
from .routing import iter_routes

#: The request field with the model's name.
_MODEL: Final = "model"
_UNIONS: Final = (Union, types.UnionType)
#: First path segments of the contract's routes.
_OF_THE_CONTRACT: Final = frozenset({"adapters", "invocations", "ping"})


def find_inference_paths(
    app: FastAPI, is_of_engine: Callable[[str], bool]
) -> frozenset[str]:
    """Return the paths of an engine's ``POST`` routes whose request has a model field.

    Routes that manage the server, its weights, caches or adapters have no such field.
    Routes with path parameters, and those that parse the request themselves, are left
    out.

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
    """Whether a path is public, without parameters, and not one of the contract."""
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
    """Whether an annotation is a model with the field, or a union of such models."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _has_model(get_args(annotation)[0])
    if origin in _UNIONS:
        return all(map(_has_model, get_args(annotation)))
    is_request = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return is_request and _MODEL in annotation.model_fields
