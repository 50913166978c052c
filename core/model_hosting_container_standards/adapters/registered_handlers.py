"""Load and unload handlers that somebody registered, of any engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ..handlers.model_call import ModelCall, content_of
from ..handlers.ownership import claim_newest, claim_served
from ..handlers.registry import Registrations
from ..handlers.shapes import Shape, compile_shape
from .request_document import shown_name

H = TypeVar("H", bound=Callable[..., Any])

LOAD_ADAPTER: Final = "load_adapter"
UNLOAD_ADAPTER: Final = "unload_adapter"
_DONE: Final = {LOAD_ADAPTER: "registered", UNLOAD_ADAPTER: "unregistered"}


def register_load_adapter_handler(
    request_shape: Shape, response_shape: Shape | None = None
) -> Callable[[H], H]:
    """Answer ``POST /adapters`` by the decorated handler, which is returned unchanged.

    The shapes map names to JMESPath expressions over ``{"body", "headers",
    "query_params", "path_params"}``; without a body, the query parameters are the body.
    The handler takes ``(request_model, raw_request)`` or ``(raw_request)`` and returns
    a Response, a dict, a model or nothing. ``response_shape`` reads ``{"body"}`` of
    what it returned. Without one a success is the text ``Adapter {name} registered``,
    whatever it returned.

    Raises:
        ValueError: an expression is no JMESPath.
    """
    return _register(LOAD_ADAPTER, request_shape, response_shape)


def register_unload_adapter_handler(
    request_shape: Shape, response_shape: Shape | None = None
) -> Callable[[H], H]:
    """Answer ``DELETE /adapters/{adapter_name}`` by the decorated handler.

    As :func:`register_load_adapter_handler`, with ``path_params.adapter_name``.
    """
    return _register(UNLOAD_ADAPTER, request_shape, response_shape)


def _register(
    name: str, request_shape: Shape, response_shape: Shape | None
) -> Callable[[H], H]:
    read_request = compile_shape(request_shape)
    read_response = None if response_shape is None else compile_shape(response_shape)

    def decorate(handler: H) -> H:
        adapter = AdapterHandler(handler, name, read_request, read_response)
        adapter_registry.add(name, adapter)
        return handler

    return decorate


def claim_handler(
    app: FastAPI, name: str, *, replaceable: bool
) -> AdapterHandler | None:
    """Return the handler that was registered for this app, if there is one.

    ``replaceable`` leaves out an engine's own, which has a route in the app: the engine
    has something better.
    """
    served = claim_served(adapter_registry, name, app, _function)
    if served is not None and not replaceable:
        return served
    return claim_newest(adapter_registry, name, _function)


adapter_registry: Final[Registrations[AdapterHandler]] = Registrations()


class AdapterHandler:
    """A load or unload handler, with what turns a request into its argument."""

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
        """Answer a request of the platform.

        Raises:
            HTTPException: 400, the handler's model does not take the request.
        """
        result = await self._call(self._read_request(document), request)
        if isinstance(result, Response) and result.status_code >= 300:
            return result
        if self._read_response is not None:
            return JSONResponse(self._read_response({"body": content_of(result)}))
        return PlainTextResponse(f"Adapter {shown_name(document)} {self._done}")


def _function(handler: AdapterHandler) -> Callable[..., Any]:
    return handler.function
