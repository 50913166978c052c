"""The engine's own inference routes: adapters by header, and the model field."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from ..adapters.adapter_middleware import AdapterMiddleware
from ..adapters.runtime import AdapterRuntime
from ..adapters.unknown_model import select_model
from ..asgi.body import (
    JSON_BODY,
    JSONBody,
    decode_object,
    read_body,
    replace_body,
    replace_json_body,
)
from ..asgi.form import read_boundary
from ..asgi.header_values import header_values
from ..asgi.request_fields import declared_fields
from ..asgi.routing import find_routes
from ..contract.headers import ADAPTER_IDENTIFIER, CONTENT_TYPE
from ..observability.route_labels import local_path

_MISSING: Final = b""
#: SGLang's own routes also take PUT.
_METHODS: Final = frozenset({"POST", "PUT"})
#: The body field of the model's name, on all engines' inference routes.
MODEL: Final = "model"
#: JSON values that name no model.
_EMPTY_NAMES: Final = (b"", b"null", b'""')


class InferenceRoutes:
    """Applies the adapter header to requests for the engine's inference routes.

    It wraps the router, inside all middleware, as ``/invocations`` does. It has no
    coroutine of its own, which would cost time in every request.

    Args:
        app: the router.
        handlers: apps for requests without the header, by path.
        adapter: handles requests with the header.
    """

    def __init__(
        self, app: ASGIApp, handlers: Mapping[str, ASGIApp], adapter: AdapterMiddleware
    ) -> None:
        self.app = app
        self.handlers = handlers
        self.adapter = adapter

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        handler = self.handlers.get(scope.get("path", ""))
        if handler is None and scope.get("root_path"):
            handler = self.handlers.get(local_path(scope))
        if handler is None or scope.get("method") not in _METHODS:
            return self.app(scope, receive, send)
        headers = header_values(scope)
        if headers.get(ADAPTER_IDENTIFIER):
            return self.adapter(self.app, headers, scope, receive, send)
        return handler(scope, receive, send)


class DefaultModel:
    """Inserts the base model's name into JSON bodies without a model name.

    Args:
        app: the app, which would refuse such a body.
        field: the body field of the name.
        name: returns the base model's name.
    """

    def __init__(self, app: ASGIApp, field: str, name: Callable[[], str]) -> None:
        self.app = app
        self.field = field
        self.name = name
        # Decoding a single field takes a fraction of decoding the whole body.
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
            msgspec.defstruct(
                "Named",
                [("name", msgspec.Raw, msgspec.Raw(_MISSING))],
                rename={"name": field},
            )
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if JSON_BODY in scope:  # An outer step has decoded it already.
            body: JSONBody = scope[JSON_BODY]
            if await self.replaces(self._name_in(body.document)):
                body.also(self._edit)
        elif read_boundary(header_values(scope).get(CONTENT_TYPE, b"")) is None:
            try:
                raw = await read_body(receive)
            except ClientDisconnect:
                return
            if (named := await self._named(raw)) is not None:
                scope, receive = replace_json_body(scope, receive, named)
            else:
                receive = replace_body(receive, raw)
        await self.app(scope, receive, send)

    async def replaces(self, name: bytes) -> bool:
        """Whether the base model's name replaces a name, given as JSON."""
        return name in _EMPTY_NAMES

    def _edit(self, document: dict[str, Any]) -> None:
        document[self.field] = self.name()

    async def _named(self, raw: bytes) -> JSONBody | None:
        """Return a body with the base model's name; None: the body stays unchanged."""
        name = self._read_name(raw)
        if name is None or not await self.replaces(name):
            return None
        try:
            return JSONBody(raw, self._edit)
        except ValueError:
            return None  # Decoding a single field skips errors in others.

    def _read_name(self, raw: bytes) -> bytes | None:
        """Return a body's name as JSON; None if the body is not a JSON object."""
        try:
            return bytes(self._decoder.decode(raw).name)
        except (ValueError, RecursionError):
            # Only the standard library takes some bodies, as those with NaN.
            document = decode_object(raw)
            return None if document is None else self._name_in(document)

    def _name_in(self, document: dict[str, Any]) -> bytes:
        if self.field not in document:
            return _MISSING
        return json.dumps(document[self.field]).encode()


class ModelSelection(DefaultModel):
    """Selects the adapter that a JSON body names, for an engine that checks no names.

    A body with an empty name gets the base model's; one without a name stays unchanged.

    Args:
        app: the app, whose base model would answer for any name.
        field: the body field of the name.
        adapters: the adapters of this server.
    """

    def __init__(self, app: ASGIApp, field: str, adapters: AdapterRuntime) -> None:
        super().__init__(app, field, adapters.base_model)
        self.adapters = adapters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Select the adapter, and call the app.

        Raises:
            HTTPException: 404, there is no such model; or the adapter's own error.
        """
        registered = self.adapters.current
        if registered is not None and registered.has_selected():
            # The header has selected one, and has precedence.
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def replaces(self, name: bytes) -> bool:
        if name == _MISSING:
            return False
        # The engine itself refuses what is not a string.
        if isinstance(model := msgspec.json.decode(name), str) and model:
            return await select_model(self.adapters, model)
        return await super().replaces(name)


def requires_field(app: FastAPI, path: str, field: str) -> bool:
    """Whether a route's pydantic model requires a field."""
    return any(
        declared is not None and declared.is_required()
        for route in find_routes(app, path, ["POST"])
        for alternatives in declared_fields(route.endpoint, field)
        for declared in alternatives
    )
