"""Requests to TensorRT-LLM's own routes, led to the adapter that their model names.

The engine computes by an adapter when a request's ``lora_request`` gives its number and
path. Clients name adapters; numbers and paths are not theirs to give.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from model_hosting_container_standards.common.fastapi.body import (
    JSON_BODY,
    JSONBody,
    read_body,
    replace_body,
    replace_json_body,
)
from model_hosting_container_standards.common.fastapi.routing import (
    find_target,
    iter_routes,
)
from model_hosting_container_standards.exceptions import AdapterError, StorageError
from model_hosting_container_standards.sagemaker.lora.adapter import Adapter

if TYPE_CHECKING:
    from .adapters import TensorRTAdapters

FIELD: Final = "lora_request"
#: A body without any of these has no such field: its name, or other ways to write it.
_SIGNS: Final = (FIELD.encode(), b"\\u", b"\0")
_OWN_PATH: Final = (
    f"{FIELD} names a path of this server: register the adapter by POST /adapters, and "
    "give its name as the model."
)


def lead_requests(
    app: FastAPI, paths: Collection[str], adapters: TensorRTAdapters
) -> None:
    """Stand in front of the routes that run a model."""
    able = {route.path for route in _routes_with_adapters(app)}
    for path in {*paths, *able}:
        if target := find_target(app, path, "POST"):
            endpoint = AdapterRequests(target, adapters, able=path in able)
            app.router.routes.insert(0, Route(path, endpoint, methods=["POST"]))


def takes_adapters(app: FastAPI) -> bool:
    """Whether requests to any route of the app can bring an adapter."""
    return bool(_routes_with_adapters(app))


def _routes_with_adapters(app: FastAPI) -> list[Any]:
    return [route for route in iter_routes(app) if _has_field(route)]


def _has_field(route: Any) -> bool:
    dependant = getattr(route, "dependant", None)
    bodies = dependant.body_params if dependant is not None else ()
    models = (body.field_info.annotation for body in bodies)
    return any(FIELD in getattr(model, "model_fields", ()) for model in models)


class AdapterRequests:
    """The ASGI app in front of one of the engine's routes.

    Args:
        route: the engine's route.
        adapters: what is registered.
        able: whether the route can answer by an adapter at all.
    """

    def __init__(
        self, route: ASGIApp, adapters: TensorRTAdapters, *, able: bool
    ) -> None:
        self.route = route
        self.adapters = adapters
        self.able = able

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body, unread = await _read(scope, receive, self._concerns)
        except ClientDisconnect:
            return  # Nobody is left to be answered.
        try:
            adapter = await self._lease(body.document) if body else None
        except (AdapterError, StorageError) as error:
            await _refusal(error)(scope, receive, send)
            return
        if body is None or adapter is None:
            await self.route(scope, unread, send)
            return
        try:
            await self.route(*_bring(adapter, body, scope, receive), send)
        finally:
            self.adapters.give_back(adapter)

    def _concerns(self, raw: bytes) -> bool:
        """Whether a body may have to do with adapters."""
        registered = self.adapters.registered
        return any(sign in raw for sign in _SIGNS) or bool(
            registered is not None and registered.view()
        )

    async def _lease(self, document: dict[str, Any]) -> Adapter | None:
        """Return the adapter a request names; None if it names none.

        Raises:
            AdapterError: it cannot answer, or the client brings one of its own.
        """
        name, registered = document.get("model"), self.adapters.registered
        if not (registered and isinstance(name, str) and name in registered.view()):
            if document.get(FIELD) is not None:
                raise AdapterError(_OWN_PATH)
            return None
        if not self.able:
            raise AdapterError(
                "This release of TensorRT-LLM answers this route by its base model "
                f"alone, not by adapter {name!r}."
            )
        return await registered.lease_loaded(name)


async def _read(
    scope: Scope, receive: Receive, concerns: Callable[[bytes], bool]
) -> tuple[JSONBody | None, Receive]:
    """Return a body that is worth a look, else None; and a ``receive`` to read it."""
    if JSON_BODY in scope:
        return scope[JSON_BODY], receive
    raw = await read_body(receive)
    receive = replace_body(receive, raw)
    try:
        return JSONBody(raw, _leave) if concerns(raw) else None, receive
    except (ValueError, TypeError, RecursionError):
        return None, receive  # The engine says what is wrong with it.


def lora_request(adapter: Adapter) -> dict[str, Any]:
    """Return what a request brings to be answered by an adapter."""
    return {
        "lora_name": adapter.engine_name,
        "lora_int_id": adapter.id,
        "lora_path": adapter.path,
    }


def _leave(document: dict[str, Any]) -> None:
    """Edit nothing."""


def _bring(
    adapter: Adapter, body: JSONBody, scope: Scope, receive: Receive
) -> tuple[Scope, Receive]:
    """Return the request with its adapter, whatever it brought itself."""
    request = lora_request(adapter)
    body.also(lambda document: document.update({FIELD: request}))
    if JSON_BODY in scope:
        return scope, receive
    return replace_json_body(scope, receive, body)


def _refusal(error: AdapterError | StorageError) -> JSONResponse:
    """Return an error as TensorRT-LLM's routes answer it."""
    code = getattr(error, "status_code", 507)
    content = {
        "object": "error",
        "message": str(error),
        "type": type(error).__name__,
        "param": None,
        "code": code,
    }
    return JSONResponse(content, code)
