"""Calls an engine's handlers with a request model, validated from given values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any

from fastapi import HTTPException
from fastapi.encoders import jsonable_encoder
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from ..asgi.body import decode_json
from ..asgi.endpoint import as_async, resolved_signature


class RequestValues(dict[str, Any]):
    """A request's values for a handler without a model: items, and attributes too."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.__dict__ = self


class ModelCall:
    """Calls ``(request_model, raw_request)``, ``(request_model)`` or ``(raw_request)``.

    The class of ``request_model`` is ``model``, or else the parameter's annotation. If
    it is not a Pydantic class, the handler gets :class:`RequestValues`.
    """

    def __init__(self, function: Callable[..., Any], model: Any = None) -> None:
        self._call = as_async(function)
        parameters = list(resolved_signature(function).parameters.values())
        annotation = parameters[0].annotation if parameters else None
        self._model: Any = annotation if model is None else model
        alone = len(parameters) == 1
        self.takes_model = len(parameters) > 1 or (
            alone and _is_model(self._model) and not _is_request(parameters[0])
        )
        self._takes_request = len(parameters) > 1 or (alone and not self.takes_model)

    async def __call__(self, values: dict[str, Any], request: Request) -> Any:
        """Call the handler, and return its result.

        Raises:
            HTTPException: 400, the values do not validate as the model.
        """
        args: list[Any] = [self._make_model(values)] if self.takes_model else []
        return await self._call(*args, *([request] if self._takes_request else []))

    def _make_model(self, values: dict[str, Any]) -> Any:
        if not _is_model(self._model):
            return RequestValues(values)
        try:
            return self._model.model_validate(values)
        except ValidationError as error:
            raise HTTPException(400, _explain(error)) from None


def content_of(result: Any) -> Any:
    """Return a handler's result as JSON data; the text of a Response without JSON."""
    if not isinstance(result, Response):
        return jsonable_encoder(result)
    body = bytes(getattr(result, "body", b""))
    try:
        return decode_json(body)
    except ValueError:
        return body.decode(errors="replace") or None


def _is_request(parameter: Parameter) -> bool:
    annotation = parameter.annotation
    return inspect.isclass(annotation) and issubclass(annotation, Request)


def _is_model(annotation: Any) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def _explain(error: ValidationError) -> str:
    problems = (
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)
    )
    return f"The request is not valid: {'; '.join(problems)}."
