"""Responses to requests that name an unknown model.

vLLM lists the names of its base model, but only in some releases and on some routes.
The wrapper makes all of them list the base model and the adapters, or lets the base
model answer if ``MHCS_UNKNOWN_MODEL=base`` is set.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import State

from model_hosting_container_standards.engines import base_model_answers, join_names
from model_hosting_container_standards.exceptions import AdapterNotFoundError

from .errors import client_error
from .registry import own_names

#: The method by which all releases check a request's model, of the ``OpenAIServing*``
#: object that serves a route.
_CHECK: Final = "_check_model"


def wrap_model_checks(state: State) -> None:
    """Wrap the model check of every ``OpenAIServing*`` object of the app."""
    for serving in _serving_objects(state):
        # An unwrapped method is defined in the class, not in the instance.
        if _CHECK not in vars(serving):
            setattr(serving, _CHECK, _wrap_check(serving, getattr(serving, _CHECK)))


def _serving_objects(state: State) -> Iterator[Any]:
    for value in state._state.values():
        if hasattr(value, _CHECK) and hasattr(value, "models"):
            yield value


def _wrap_check(serving: Any, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def check_model(request: Any, *args: Any, **kwargs: Any) -> Any:
        refusal = await method(request, *args, **kwargs)
        error = getattr(refusal, "error", refusal)
        if _knows(serving, request.model):
            return refusal
        if error is not None and error.code != HTTPStatus.NOT_FOUND:
            return refusal
        if base_model_answers(request.model):
            request.model = _base_names(serving)[0]
            return None
        message = _describe(serving, request.model)
        if error is None:  # Pooling would raise it later, without a list of names.
            raise client_error(AdapterNotFoundError(message))
        error.message = message
        return refusal

    return check_model


def _knows(serving: Any, name: str | None) -> bool:
    if serving._is_model_supported(name):
        return True
    return name in own_names(serving.models.lora_requests)


def _base_names(serving: Any) -> list[str]:
    return [model.name for model in serving.models.base_model_paths]


def _describe(serving: Any, name: str) -> str:
    names = [*_base_names(serving), *own_names(serving.models.lora_requests)]
    return f"The model `{name}` does not exist. Valid aliases: {join_names(names)}."
