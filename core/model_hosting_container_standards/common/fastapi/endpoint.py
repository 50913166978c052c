"""Any callable as a FastAPI endpoint.

FastAPI reads an endpoint's signature to learn what to pass. It wants a function with
annotations it can resolve; customers write partials, instances, parameters without
annotation and decorators without ``functools.wraps``. What is made here has a signature
that every FastAPI version reads the same way.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from inspect import Parameter, Signature
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ...exceptions import HandlerNotCallableError
from .body import JSONRequest

_REQUEST_NAMES = frozenset({"request", "raw_request", "req"})
_VARIADIC = frozenset({Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD})
_BY_POSITION = frozenset({Parameter.POSITIONAL_ONLY, Parameter.VAR_POSITIONAL})


def as_endpoint(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that FastAPI calls as the customer meant ``handler``.

    A parameter that can only be the request is passed the request, annotated or not.
    An iterator that comes back is streamed. Async handlers stay on the event loop,
    sync ones go to the thread pool. Name, docstring and OpenAPI identity are kept.
    """
    signature = resolved_signature(handler)
    request = _find_request(signature.parameters.values())
    parameters = [p for p in signature.parameters.values() if _is_passed(p, request)]
    by_position = [p.name for p in parameters if p.kind in _BY_POSITION]
    on_event_loop = _is_async(handler)

    async def endpoint(**values: Any) -> Any:
        args = [values.pop(name) for name in by_position]
        if on_event_loop:
            result = handler(*args, **values)
        else:
            result = await run_in_threadpool(handler, *args, **values)
        if inspect.isawaitable(result):
            result = await result
        return _as_response(result)

    # Not functools.wraps: FastAPI follows __wrapped__, and would take the endpoint of a
    # generator function for a generator.
    function = unwrap(handler)
    endpoint.__name__ = getattr(function, "__name__", type(function).__name__)
    endpoint.__qualname__ = getattr(function, "__qualname__", endpoint.__name__)
    endpoint.__module__ = function.__module__
    endpoint.__doc__ = inspect.getdoc(function)
    return _with_signature(
        endpoint,
        Signature(
            [_as_fastapi_parameter(p, request) for p in parameters],
            return_annotation=_response_model(handler, signature),
        ),
    )


def with_json_request(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an async FastAPI endpoint so that its request decodes JSON faster.

    A function that does not take the request is returned as it is.
    """
    signature = resolved_signature(function)
    request = next(
        (p.name for p in signature.parameters.values() if _takes_request(p)), None
    )
    if request is None or not _is_async(function):
        return function

    @functools.wraps(function)
    async def endpoint(*args: Any, **kwargs: Any) -> Any:
        if request in kwargs:
            kwargs[request] = JSONRequest.of(kwargs[request])
        return await function(*args, **kwargs)

    return _with_signature(endpoint, signature)


def resolved_signature(handler: Callable[..., Any]) -> Signature:
    """Return the signature with string annotations evaluated where they were written.

    Raises:
        HandlerNotCallableError: there is no signature, or a name in it is unknown.
    """
    try:
        return inspect.signature(handler, eval_str=True)
    except (NameError, ValueError, TypeError) as error:
        raise HandlerNotCallableError(
            f"The signature of {describe(handler)} cannot be read: {error}. "
            "Names in annotations must be importable when the server runs."
        ) from error


def describe(handler: Callable[..., Any]) -> str:
    """Return ``module.qualname (file:line)``, as much of it as there is."""
    function = unwrap(handler)
    named = function if hasattr(function, "__qualname__") else type(function)
    label = f"{named.__module__}.{named.__qualname__}"
    code = getattr(function, "__code__", None)
    return f"{label} ({code.co_filename}:{code.co_firstlineno})" if code else label


def unwrap(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function below partials and well-behaved decorators."""
    if isinstance(handler, functools.partial):
        return unwrap(handler.func)
    inner = getattr(handler, "__wrapped__", None)
    return handler if inner is None else unwrap(inner)


def _find_request(parameters: Iterable[Parameter]) -> str | None:
    """Return the name of the parameter that takes the request, if one does."""
    annotated = [p.name for p in parameters if _takes_request(p)]
    if annotated:
        return annotated[0]
    bare = [p.name for p in parameters if _is_bare(p)]
    named = [name for name in bare if name in _REQUEST_NAMES]
    if named or len(bare) == 1:
        return (named or bare)[0]
    return None


def _takes_request(parameter: Parameter) -> bool:
    kind = parameter.annotation
    return inspect.isclass(kind) and issubclass(kind, Request)


def _is_bare(parameter: Parameter) -> bool:
    """Whether nothing tells what the parameter takes, but its place and name."""
    if parameter.kind in _VARIADIC:
        return parameter.kind is Parameter.VAR_POSITIONAL
    return parameter.annotation is parameter.default is Parameter.empty


def _is_passed(parameter: Parameter, request: str | None) -> bool:
    """Whether FastAPI has something to pass for it: not for ``*args, **kwargs``."""
    return parameter.name == request or parameter.kind not in _VARIADIC


def _as_fastapi_parameter(parameter: Parameter, request: str | None) -> Parameter:
    if parameter.name == request:
        parameter = parameter.replace(annotation=Request)
    return parameter.replace(kind=Parameter.KEYWORD_ONLY)


def _response_model(handler: Callable[..., Any], signature: Signature) -> Any:
    """Return the annotation FastAPI makes a response model of; a stream has none."""
    function = unwrap(handler)
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        return Signature.empty
    return signature.return_annotation


def _is_async(handler: Callable[..., Any]) -> bool:
    """Whether calling it only makes a coroutine or an async generator."""
    function = unwrap(handler)
    candidates = (function, inspect.getattr_static(type(function), "__call__", None))
    return any(
        inspect.iscoroutinefunction(candidate) or inspect.isasyncgenfunction(candidate)
        for candidate in candidates
    )


def _as_response(result: Any) -> Any:
    if isinstance(result, Response):
        return result
    if hasattr(result, "__anext__") or hasattr(result, "__next__"):
        return StreamingResponse(result)
    return result


def _with_signature(
    endpoint: Callable[..., Any], signature: Signature
) -> Callable[..., Any]:
    """Pin the signature: older FastAPI would look string annotations up in here."""
    endpoint.__signature__ = signature  # type: ignore[attr-defined]
    return endpoint
