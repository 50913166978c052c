"""The decorators that register handlers to load and unload adapters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ..handlers.model_call import ModelCall, content_of
from ..handlers.ownership import claim_newest, claim_served
from ..handlers.registry import Registrations, handler_registry
from ..handlers.shapes import Shape, compile_shape
from .request_document import shown_name

H = TypeVar("H", bound=Callable[..., Any])

LOAD_ADAPTER: Final = "load_adapter"
UNLOAD_ADAPTER: Final = "unload_adapter"
_DONE: Final = {LOAD_ADAPTER: "registered", UNLOAD_ADAPTER: "unregistered"}


def register_load_adapter_handler(
    request_shape: Shape, response_shape: Shape | None = None
) -> Callable[[H], H]:
    """Register the handler of ``POST /adapters``; it is returned unchanged.

    The shapes map names to JMESPath expressions. ``request_shape`` is evaluated over
    ``{"body", "headers", "query_params", "path_params"}``; without a body, the query
    parameters are the body. The handler takes ``(request_model, raw_request)`` or
    ``(raw_request)`` and returns a Response, a dict, a model or nothing.
    ``response_shape`` is evaluated over ``{"body"}``, the returned content. Without it,
    or if it is empty, the answer is the text ``Adapter {name} registered``, unless the
    handler returned a Response with a status of 300 or above.

    Raises:
        ValueError: an expression is not valid JMESPath.
    """
    return _register(LOAD_ADAPTER, request_shape, response_shape)


def register_unload_adapter_handler(
    request_shape: Shape, response_shape: Shape | None = None
) -> Callable[[H], H]:
    """Register the handler of ``DELETE /adapters/{adapter_name}``.

    As :func:`register_load_adapter_handler`; the adapter's name is
    ``path_params.adapter_name``.
    """
    return _register(UNLOAD_ADAPTER, request_shape, response_shape)


def _register(
    name: str, request_shape: Shape, response_shape: Shape | None
) -> Callable[[H], H]:
    read_request = compile_shape(request_shape)
    read_response = compile_shape(response_shape) if response_shape else None

    def decorate(handler: H) -> H:
        adapter = AdapterHandler(handler, name, read_request, read_response)
        adapter_registry.add(name, adapter)
        return handler

    return decorate


def claim_handler(
    app: FastAPI, name: str, *, replaceable: bool
) -> AdapterHandler | None:
    """Return the handler that was registered for this app, if there is one.

    With ``replaceable``, a handler that already is a route of the app is ignored: it is
    the engine's own, and this package replaces it.
    """
    served = claim_served(adapter_registry, name, app, _function_of)
    if served is not None and not replaceable:
        return served
    return claim_newest(adapter_registry, name, _function_of)


adapter_registry: Final[Registrations[AdapterHandler]] = (
    handler_registry.new_registrations()
)


class AdapterHandler:
    """A registered load or unload handler, with its compiled shapes."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        read_request: Callable[..., dict[str, Any]],
        read_response: Callable[..., dict[str, Any]] | None,
    ) -> None:
        self.function = function
        self._call = ModelCall(function)
        self._read_request = read_request
        self._read_response = read_response
        self._done = _DONE[name]

    async def answer(self, request: Request, document: dict[str, Any]) -> Response:
        """Call the handler, and return the response to the client.

        Raises:
            HTTPException: 400, the request does not validate as the handler's model.
        """
        result = await self._call(self._read_request(document), request)
        if isinstance(result, Response) and result.status_code >= 300:
            return result
        if self._read_response is not None:
            return JSONResponse(self._read_response({"body": content_of(result)}))
        return PlainTextResponse(f"Adapter {shown_name(document)} {self._done}")


def _function_of(handler: AdapterHandler) -> Callable[..., Any]:
    return handler.function
