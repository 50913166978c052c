"""Requests to TensorRT-LLM's server, led to the adapter that their model names.

The engine computes by an adapter when a generation begins with a ``lora_request`` that
gives its number and path. Clients name adapters; numbers and paths are not theirs.

The name is read around the server's methods, where its routes and customers' handlers
meet. The generations that such a method begins are given the ``lora_request``: not all
methods have one in their requests to pass on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, get_type_hints

if TYPE_CHECKING:  # Workers load this module too, and answer no requests.
    from fastapi.responses import JSONResponse

    from model_hosting_container_standards.engines import Adapter, RegisteredAdapters

FIELD: Final = "lora_request"
#: Where an app has its adapters, once it has started.
ADAPTERS: Final = "sagemaker_adapters"
#: Who asks how many tokens there may be, has some generated; or else the model does not
#: run, as where a prompt is only made tokens of.
_LIMITS: Final = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})
#: What the server answers at 200 when it has met a dead engine, or nothing at all.
_NOTHING: Final = b'{"detail":"None"}'
_ERRORS: Final = 400
_OWN_PATH: Final = (
    f"{FIELD} names a path of this server: register the adapter by POST /adapters, and "
    "give its name as the model."
)
#: The adapter of the request that a method of the server answers.
_ANSWERING: Final[ContextVar[Adapter | None]] = ContextVar("ANSWERING", default=None)


def answering_methods(server_class: type) -> Iterator[tuple[str, bool]]:
    """Yield what answers requests that name a model and run it, and who knows adapters.

    Those are what routes call, and health checks and customers' handlers. What has an
    underscore is theirs to call, and answers with anything.
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
        # Some are for type checkers only. Those of requests are what FastAPI reads.
        hints = inspect.get_annotations(method)
    # Responses name a model as well.
    return [hint for name, hint in hints.items() if name != "return"]


def takes_adapters(server: Any) -> bool:
    """Whether a server answers any request by an adapter."""
    return any(able for _, able in answering_methods(type(server)))


async def answer_by_adapter(
    wrapped: Callable[..., Any], server: Any, args: Any, kwargs: Any
) -> Any:
    """Let the engine answer by the adapter that the request's model names, if any."""
    # Imported late: workers import what has these methods, and never call them.
    from model_hosting_container_standards.exceptions import AdapterError, StorageError

    asked = [value for value in (*args, *kwargs.values()) if hasattr(value, "model")]
    if not asked:
        return await wrapped(*args, **kwargs)
    try:
        adapter = await _adapter_of(server, asked[0])
    except (AdapterError, StorageError) as error:
        return _refusal(error)
    token = _ANSWERING.set(adapter)
    try:
        return _checked(server, await wrapped(*args, **kwargs))
    finally:
        _ANSWERING.reset(token)


def generate_by_adapter(
    wrapped: Callable[..., Any], _instance: Any, args: Any, kwargs: Any
) -> Any:
    """Begin a generation by the adapter of the request that is answered, if any."""
    if (adapter := _ANSWERING.get()) is not None:
        kwargs = {**kwargs, FIELD: make_lora_request(adapter)}
    return wrapped(*args, **kwargs)


async def _adapter_of(server: Any, request: Any) -> Adapter | None:
    """Return the adapter that a request names, if any.

    Raises:
        AdapterError: it cannot be answered so, or brings a path of its own.
    """
    from model_hosting_container_standards.exceptions import AdapterError

    adapter = _ANSWERING.get()
    if adapter is not None and adapter.name == request.model:
        return adapter  # One method has called another.
    adapters: RegisteredAdapters | None = getattr(server.app.state, ADAPTERS, None)
    adapter = None if adapters is None else await _find(adapters, request.model)
    if adapter is None and getattr(request, FIELD, None) is not None:
        raise AdapterError(_OWN_PATH)
    return adapter


async def _find(adapters: RegisteredAdapters, name: Any) -> Adapter | None:
    from model_hosting_container_standards.exceptions import AdapterError

    if not isinstance(name, str) or adapters.find(name) is None:
        return None
    # To the request's end, and the engine keeps it whatever becomes of it here.
    adapter = await adapters.keep_loaded(name)
    if adapter.by_handler:
        raise AdapterError(
            f"Adapter {name!r} was loaded by a handler, which has to answer for it too."
        )
    check_files(adapter)
    return adapter


def check_files(adapter: Adapter) -> None:
    """Look for an adapter's files.

    Raises:
        AdapterNotFoundError: they are gone. Up to 1.3 the engine looks at each
            request's too; since then it would break off the answer.
    """
    from model_hosting_container_standards.engines import has_files
    from model_hosting_container_standards.exceptions import AdapterNotFoundError

    if not has_files(adapter.path):
        raise AdapterNotFoundError(
            f"The files of adapter {adapter.name!r} are gone from {adapter.path}."
        )


def make_lora_request(adapter: Adapter) -> Any:
    """Return what a generation brings to be one by an adapter."""
    from tensorrt_llm.executor.request import LoRARequest

    return LoRARequest(
        lora_name=adapter.engine_name,
        lora_int_id=adapter.id,
        lora_path=adapter.path,
    )


def _checked(server: Any, answer: Any) -> Any:
    """Return an answer, but of a dead engine that it is dead: a 503.

    Its own are a 400, as if a request were at fault, or a 200 that says nothing.
    """
    from .health import cause_of_death

    says_nothing = answer is None or getattr(answer, "body", None) == _NOTHING
    if not says_nothing and getattr(answer, "status_code", 0) < _ERRORS:
        return answer
    cause = cause_of_death(server)
    if cause is None and not says_nothing:
        return answer
    reason = "TensorRT-LLM's engine is dead" + (f": {cause}" if cause else ".")
    return _error(503, "EngineUnhealthyError", reason)


def _refusal(error: Exception) -> JSONResponse:
    code = getattr(error, "status_code", 507)
    return _error(code, type(error).__name__, str(error))


def _error(code: int, kind: str, message: str) -> JSONResponse:
    """Return an error as the server's own methods do."""
    from fastapi.responses import JSONResponse

    content = {
        "object": "error",
        "message": message,
        "type": kind,
        "param": None,
        "code": code,
    }
    return JSONResponse(content, code)
