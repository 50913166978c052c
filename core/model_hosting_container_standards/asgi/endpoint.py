"""Turn any callable into a FastAPI endpoint.

FastAPI derives an endpoint's arguments from its signature, and needs a function with
resolvable annotations. Customers write partials, instances, parameters without
annotations and decorators without ``functools.wraps``. The endpoints made here have a
signature that every FastAPI version reads the same way.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Awaitable, Callable, Collection, Iterable
from inspect import Parameter, Signature
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ..exceptions import HandlerNotCallableError
from .body import JSONRequest

_REQUEST_NAMES = frozenset({"request", "raw_request", "req"})
_VARIADIC = frozenset({Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD})
_BY_POSITION = frozenset({Parameter.POSITIONAL_ONLY, Parameter.VAR_POSITIONAL})


def as_endpoint(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return a FastAPI endpoint that calls ``handler``.

    A parameter that can only be the request gets the request, annotated or not. A
    returned iterator is streamed. Async handlers run on the event loop, sync ones in
    the thread pool. Name, docstring and OpenAPI identity are kept.

    Raises:
        HandlerNotCallableError: the signature cannot be read.
    """
    signature = resolved_signature(handler)
    request = _find_request(signature.parameters.values())
    bound = _bound_keywords(handler)
    parameters = [
        parameter
        for parameter in signature.parameters.values()
        if _is_passed(parameter, request) and parameter.name not in bound
    ]
    by_position = [p.name for p in parameters if p.kind in _BY_POSITION]
    call = as_async(handler)

    async def endpoint(**values: Any) -> Any:
        args = [values.pop(name) for name in by_position]
        return _as_response(await call(*args, **values))

    # Not functools.wraps: FastAPI follows __wrapped__, and would treat the endpoint of
    # a generator function as a generator.
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


def as_async(
    handler: Callable[..., Any],
    run_in_thread: Callable[..., Awaitable[Any]] = run_in_threadpool,
) -> Callable[..., Awaitable[Any]]:
    """Return an async function that calls ``handler``, in a thread if it is sync."""
    if inspect.iscoroutinefunction(handler):
        return handler
    on_event_loop = _is_async(handler)

    async def call(*args: Any, **kwargs: Any) -> Any:
        if on_event_loop:
            result = handler(*args, **kwargs)
        else:
            result = await run_in_thread(handler, *args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    return call


def with_json_request(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an endpoint; a coroutine function gets a :class:`JSONRequest`."""
    on_event_loop = is_coroutine_function(function)
    wrap = _wrap_coroutine_function if on_event_loop else _wrap_function
    endpoint = wrap(function)
    functools.update_wrapper(endpoint, function)
    # An annotation may name a class that is defined further below.
    with contextlib.suppress(NameError):
        _with_signature(endpoint, inspect.signature(function, eval_str=True))
    return endpoint


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Whether it is an async function, or an instance with an async ``__call__``."""
    called = inspect.getattr_static(type(function), "__call__", None)
    return any(map(inspect.iscoroutinefunction, (function, called)))


def _wrap_coroutine_function(function: Callable[..., Any]) -> Callable[..., Any]:
    async def endpoint(*args: Any, **kwargs: Any) -> Any:
        for name, value in kwargs.items():
            # A subclass of Request may have a .json() of its own.
            if type(value) is Request:
                kwargs[name] = JSONRequest.of(value)
        return await function(*args, **kwargs)

    return endpoint


def _wrap_function(function: Callable[..., Any]) -> Callable[..., Any]:
    def endpoint(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return endpoint


def resolved_signature(handler: Callable[..., Any]) -> Signature:
    """Return the signature, with string annotations evaluated in the handler's module.

    A return annotation that cannot be evaluated is dropped, as in FastAPI.

    Raises:
        HandlerNotCallableError: the signature is missing, or a name in it is undefined.
    """
    try:
        return _evaluated_signature(handler)
    except (NameError, ValueError, TypeError) as error:
        raise HandlerNotCallableError(
            f"The signature of {describe(handler)} cannot be read: {error}. "
            "Names in annotations must be importable when the server runs."
        ) from error


def _evaluated_signature(handler: Callable[..., Any]) -> Signature:
    try:
        return inspect.signature(handler, eval_str=True)
    except NameError:
        signature = inspect.signature(handler)
    names = getattr(unwrap(handler), "__globals__", {})
    parameters = [
        p.replace(annotation=eval(p.annotation, names))
        if isinstance(p.annotation, str)
        else p
        for p in signature.parameters.values()
    ]
    return Signature(parameters)


def describe(handler: Callable[..., Any]) -> str:
    """Return ``module.qualname (file:line)``, without the parts that are unknown."""
    function = unwrap(handler)
    owner = function if hasattr(function, "__qualname__") else type(function)
    label = f"{owner.__module__}.{owner.__qualname__}"
    code = getattr(function, "__code__", None)
    return f"{label} ({code.co_filename}:{code.co_firstlineno})" if code else label


def unwrap(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function below partials and decorators with ``functools.wraps``."""
    if isinstance(handler, functools.partial):
        return unwrap(handler.func)
    inner = wrapped_by(handler)
    return handler if inner is None else unwrap(inner)


def wrapped_by(handler: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return the function that a decorator has wrapped, if any."""
    # A static lookup: some proxies return another proxy for any attribute.
    inner = inspect.getattr_static(handler, "__wrapped__", None)
    # wrapt's proxies are written in C, and have a descriptor.
    if inspect.isdatadescriptor(inner):
        inner = handler.__wrapped__  # type: ignore[attr-defined]
    return inner  # type: ignore[no-any-return]


def _bound_keywords(handler: Callable[..., Any]) -> Collection[str]:
    """Return the arguments that a partial has bound: clients must not set them."""
    return handler.keywords if isinstance(handler, functools.partial) else ()


def _find_request(parameters: Iterable[Parameter]) -> str | None:
    """Return the name of the parameter for the request, if there is one."""
    annotated = [p.name for p in parameters if _takes_request(p)]
    if annotated:
        return annotated[0]
    untyped = [p.name for p in parameters if _is_untyped(p)]
    by_name = [name for name in untyped if name in _REQUEST_NAMES]
    if by_name or len(untyped) == 1:
        return (by_name or untyped)[0]
    return None


def _takes_request(parameter: Parameter) -> bool:
    kind = parameter.annotation
    return inspect.isclass(kind) and issubclass(kind, Request)


def _is_untyped(parameter: Parameter) -> bool:
    """Whether a parameter has neither annotation nor default."""
    if parameter.kind in _VARIADIC:
        return parameter.kind is Parameter.VAR_POSITIONAL
    return parameter.annotation is parameter.default is Parameter.empty


def _is_passed(parameter: Parameter, request: str | None) -> bool:
    """Whether FastAPI can pass a value; it cannot for ``*args, **kwargs``."""
    return parameter.name == request or parameter.kind not in _VARIADIC


def _as_fastapi_parameter(parameter: Parameter, request: str | None) -> Parameter:
    if parameter.name == request:
        parameter = parameter.replace(annotation=Request)
    return parameter.replace(kind=Parameter.KEYWORD_ONLY)


def _response_model(handler: Callable[..., Any], signature: Signature) -> Any:
    """Return the annotation for FastAPI's response model; a stream has none."""
    function = unwrap(handler)
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        return Signature.empty
    return signature.return_annotation


def _is_async(handler: Callable[..., Any]) -> bool:
    """Whether a call returns a coroutine or an async generator."""
    function = unwrap(handler)
    candidates = (function, inspect.getattr_static(type(function), "__call__", None))
    return any(
        inspect.iscoroutinefunction(candidate) or inspect.isasyncgenfunction(candidate)
        for candidate in candidates
    )


def _as_response(result: Any) -> Any:
    if isinstance(result, Response):
        return result
    if hasattr(result, "__aiter__") or hasattr(result, "__next__"):
        return StreamingResponse(result)
    return result


def _with_signature(
    endpoint: Callable[..., Any], signature: Signature
) -> Callable[..., Any]:
    """Set the signature: older FastAPI would evaluate annotations in this module."""
    endpoint.__signature__ = signature  # type: ignore[attr-defined]
    return endpoint
