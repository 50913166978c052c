"""Selects the adapter that the model name of a TensorRT-LLM request refers to.

The engine uses an adapter if a generation starts with a ``lora_request``, which has the
adapter's integer id and path. Clients send only the adapter's name.

The name is read by wrapping the server's methods, which routes and customers' handlers
both call. The ``lora_request`` is then added to every generation that such a method
starts, since not all request classes have a field for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, get_type_hints

if TYPE_CHECKING:  # Workers load this module too, but do not serve requests.
    from fastapi.responses import JSONResponse

    from model_hosting_container_standards.engines import Adapter, RegisteredAdapters

FIELD: Final = "lora_request"
#: Attribute of ``app.state`` with the registered adapters, once the app has started.
ADAPTERS: Final = "sagemaker_adapters"
#: Fields that limit the number of tokens: a request class with one of them generates,
#: unlike for example one for tokenization.
_LIMITS: Final = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})
#: Body of the 200 that the server may send when its engine is dead.
_EMPTY_BODY: Final = b'{"detail":"None"}'
_FIRST_ERROR_STATUS: Final = 400
_PATH_REJECTED: Final = (
    f"{FIELD} is not allowed, as it has a path on the server: register the adapter by "
    "POST /adapters, and send its name as the model."
)
#: The adapter of the request that is being served.
_ANSWERING: Final[ContextVar[Adapter | None]] = ContextVar("ANSWERING", default=None)


def answering_methods(server_class: type) -> Iterator[tuple[str, bool]]:
    """Yield the methods that serve inference requests, and whether they take adapters.

    These are the public coroutine methods that routes, health checks and customers'
    handlers call. Private methods are left out: they are called by the public ones.
    """
    for name in dir(server_class):
        method = inspect.getattr_static(server_class, name)
        if not name.startswith("_") and inspect.iscoroutinefunction(method):
            for model in _parameter_hints(method):
                fields = getattr(model, "model_fields", {}).keys()
                if "model" in fields and fields & {FIELD, *_LIMITS}:
                    yield name, FIELD in fields


def _parameter_hints(method: Callable[..., Any]) -> Iterable[Any]:
    try:
        hints = get_type_hints(method)
    except (NameError, TypeError):
        # Some hints are only defined for type checkers; those of requests never are,
        # since FastAPI reads them.
        hints = inspect.get_annotations(method)
    # Without the response, which has a model as well.
    return [hint for name, hint in hints.items() if name != "return"]


def takes_adapters(server: Any) -> bool:
    """Whether any method of a server supports adapters."""
    return any(
        takes_adapters_itself
        for _, takes_adapters_itself in answering_methods(type(server))
    )


async def answer_by_adapter(
    wrapped: Callable[..., Any], server: Any, args: Any, kwargs: Any
) -> Any:
    """Serve a request with the adapter that its model name refers to, if any."""
    # Imported late: workers import the wrapped classes but never call the methods.
    from model_hosting_container_standards.exceptions import AdapterError, StorageError

    requests = [value for value in (*args, *kwargs.values()) if hasattr(value, "model")]
    if not requests:
        return await wrapped(*args, **kwargs)
    try:
        adapter = await _adapter_of(server, requests[0])
    except (AdapterError, StorageError) as error:
        return _refusal(error)
    token = _ANSWERING.set(adapter)
    try:
        return _check_engine(server, await wrapped(*args, **kwargs))
    finally:
        _ANSWERING.reset(token)


def generate_by_adapter(
    wrapped: Callable[..., Any], _instance: Any, args: Any, kwargs: Any
) -> Any:
    """Start a generation with the adapter of the current request, if any."""
    if (adapter := _ANSWERING.get()) is not None:
        kwargs = {**kwargs, FIELD: make_lora_request(adapter)}
    return wrapped(*args, **kwargs)


async def _adapter_of(server: Any, request: Any) -> Adapter | None:
    """Return the adapter that a request's model name refers to, if any.

    Raises:
        AdapterError: the adapter cannot be used, or the request has a ``lora_request``.
    """
    from model_hosting_container_standards.exceptions import AdapterError

    adapter = _ANSWERING.get()
    if adapter is not None and adapter.name == request.model:
        return adapter  # One wrapped method has called another.
    adapters: RegisteredAdapters | None = getattr(server.app.state, ADAPTERS, None)
    adapter = None if adapters is None else await _lease(adapters, request.model)
    if adapter is None and getattr(request, FIELD, None) is not None:
        raise AdapterError(_PATH_REJECTED)
    return adapter


async def _lease(adapters: RegisteredAdapters, name: Any) -> Adapter | None:
    from model_hosting_container_standards.exceptions import AdapterError

    if not isinstance(name, str) or adapters.find(name) is None:
        return None
    # Leased until the end of the request; the engine itself never unloads it.
    adapter = await adapters.keep_loaded(name)
    if adapter.by_handler:
        raise AdapterError(
            f"Adapter {name!r} was loaded by a handler, so that a handler must serve "
            "its requests too."
        )
    check_files(adapter)
    return adapter


def check_files(adapter: Adapter) -> None:
    """Check that an adapter's files still exist.

    Raises:
        AdapterNotFoundError: they do not. Up to 1.3 the engine checks each request's
            path as well; since then it would abort the response.
    """
    from model_hosting_container_standards.engines import has_files
    from model_hosting_container_standards.exceptions import AdapterNotFoundError

    if not has_files(adapter.path):
        raise AdapterNotFoundError(
            f"The files of adapter {adapter.name!r} no longer exist in {adapter.path}."
        )


def make_lora_request(adapter: Adapter) -> Any:
    """Return the engine's ``LoRARequest`` of an adapter."""
    from tensorrt_llm.executor.request import LoRARequest

    return LoRARequest(
        lora_name=adapter.engine_name,
        lora_int_id=adapter.id,
        lora_path=adapter.path,
    )


def _check_engine(server: Any, response: Any) -> Any:
    """Return the response, or a 503 if the engine is dead.

    TensorRT-LLM itself sends a 400, as for an invalid request, or an empty 200.
    """
    from .health import cause_of_death

    is_empty = response is None or getattr(response, "body", None) == _EMPTY_BODY
    if not is_empty and getattr(response, "status_code", 0) < _FIRST_ERROR_STATUS:
        return response
    cause = cause_of_death(server)
    if cause is None and not is_empty:
        return response
    reason = "TensorRT-LLM's engine is dead" + (f": {cause}" if cause else ".")
    return _error(503, "EngineUnhealthyError", reason)


def _refusal(error: Exception) -> JSONResponse:
    code = getattr(error, "status_code", 507)
    return _error(code, type(error).__name__, str(error))


def _error(code: int, kind: str, message: str) -> JSONResponse:
    """Return an error response in the format of the server's own methods."""
    from fastapi.responses import JSONResponse

    content = {
        "object": "error",
        "message": message,
        "type": kind,
        "param": None,
        "code": code,
    }
    return JSONResponse(content, code)
