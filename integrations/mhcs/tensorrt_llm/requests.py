"""Requests to TensorRT-LLM's server, led to the adapter that their model names.

The engine computes by an adapter when a request's ``lora_request`` gives its number and
path. Clients name adapters; numbers and paths are not theirs to give.

This is around the server's methods, where its routes and customers' handlers meet.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, get_type_hints

if TYPE_CHECKING:  # Workers load this module too, and answer no requests.
    from fastapi.responses import JSONResponse

    from model_hosting_container_standards.sagemaker.lora.adapter import Adapter
    from model_hosting_container_standards.sagemaker.lora.adapters import Adapters

FIELD: Final = "lora_request"
#: Where an app has its adapters, once it has started.
ADAPTERS: Final = "sagemaker_adapters"
_OWN_PATH: Final = (
    f"{FIELD} names a path of this server: register the adapter by POST /adapters, and "
    "give its name as the model."
)


def answering_methods(server_class: type) -> Iterator[tuple[str, bool]]:
    """Yield what answers requests that name a model, and whether by adapters too.

    Those are what routes call, and health checks and customers' handlers. What has an
    underscore is theirs to call, and answers with anything.
    """
    for name in dir(server_class):
        method = inspect.getattr_static(server_class, name)
        if not name.startswith("_") and inspect.iscoroutinefunction(method):
            for model in _parameter_hints(method):
                fields = getattr(model, "model_fields", {})
                if "model" in fields:
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

    for value in (*args, *kwargs.values()):
        if hasattr(value, "model"):
            try:
                await _bring_adapter(server, value)
            except (AdapterError, StorageError) as error:
                return _refusal(error)
    return await wrapped(*args, **kwargs)


async def _bring_adapter(server: Any, request: Any) -> None:
    """Give a request the ``lora_request`` of the adapter it names.

    Raises:
        AdapterError: it cannot be answered so, or brings a path of its own.
    """
    from model_hosting_container_standards.exceptions import AdapterError

    adapters: Adapters | None = getattr(server.app.state, ADAPTERS, None)
    adapter = None if adapters is None else await _adapter_of(adapters, request)
    if adapter is not None:
        if FIELD not in type(request).model_fields:
            raise AdapterError(
                "This release of TensorRT-LLM answers this route by its base model "
                f"alone, not by adapter {adapter.name!r}."
            )
        request.lora_request = make_lora_request(adapter)
    elif getattr(request, FIELD, None) is not None:
        raise AdapterError(_OWN_PATH)


async def _adapter_of(adapters: Adapters, request: Any) -> Adapter | None:
    from model_hosting_container_standards.exceptions import AdapterError

    name = request.model
    if not isinstance(name, str) or adapters.find(name) is None:
        return None
    # To the request's end, and the engine keeps it whatever becomes of it here.
    adapter = await adapters.keep_loaded(name)
    if adapter.by_handler:
        raise AdapterError(
            f"Adapter {name!r} was loaded by a handler, which has to answer for it too."
        )
    return adapter


def make_lora_request(adapter: Adapter) -> Any:
    """Return what a request brings to be answered by an adapter.

    Raises:
        AdapterNotFoundError: its folder is gone. Up to 1.3 the engine looks at each
            request's too; since then it would break off the answer.
    """
    from tensorrt_llm.executor.request import LoRARequest

    from model_hosting_container_standards.exceptions import AdapterNotFoundError
    from model_hosting_container_standards.sagemaker.lora.files import has_files

    if not has_files(adapter.path):
        raise AdapterNotFoundError(
            f"The files of adapter {adapter.name!r} are gone from {adapter.path}."
        )
    return LoRARequest(
        lora_name=adapter.engine_name,
        lora_int_id=adapter.id,
        lora_path=adapter.path,
    )


def _refusal(error: Exception) -> JSONResponse:
    """Return an error as the server's own methods do."""
    from fastapi.responses import JSONResponse

    code = getattr(error, "status_code", 507)
    content = {
        "object": "error",
        "message": str(error),
        "type": type(error).__name__,
        "param": None,
        "code": code,
    }
    return JSONResponse(content, code)
