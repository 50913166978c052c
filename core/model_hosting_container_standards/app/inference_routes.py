"""The engine's own inference routes: adapters by header, and the default model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from ..adapters.adapter_middleware import AdapterMiddleware
from ..asgi.body import (
    JSON_BODY,
    JSONBody,
    decode_object,
    read_body,
    replace_body,
    replace_json_body,
)
from ..asgi.form import read_boundary
from ..asgi.request_fields import declared_fields
from ..asgi.routing import find_routes
from ..contract.headers import ADAPTER_IDENTIFIER, CONTENT_TYPE
from ..observability.route_labels import local_path

#: JSON values that name no model.
_EMPTY_NAMES: Final = (b"null", b'""')


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
        if handler is None or scope.get("method") != "POST":
            return self.app(scope, receive, send)
        headers: dict[bytes, bytes] = dict(scope["headers"])
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
        nothing = msgspec.Raw(b"null")
        # Decoding a single field takes a fraction of decoding the whole body.
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
            msgspec.defstruct(
                "Named", [("name", msgspec.Raw, nothing)], rename={"name": field}
            )
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if JSON_BODY in scope:  # An outer step has decoded it already.
            body: JSONBody = scope[JSON_BODY]
            if not self._has_name(body.document):
                body.also(self._edit)
        elif read_boundary(dict(scope["headers"]).get(CONTENT_TYPE, b"")) is None:
            try:
                raw = await read_body(receive)
            except ClientDisconnect:
                return
            if (named := self._named(raw)) is not None:
                scope, receive = replace_json_body(scope, receive, named)
            else:
                receive = replace_body(receive, raw)
        await self.app(scope, receive, send)

    def _edit(self, document: dict[str, Any]) -> None:
        document[self.field] = self.name()

    def _named(self, raw: bytes) -> JSONBody | None:
        """Return a body with the base model's name; None: the body stays unchanged."""
        if self._names_model(raw):
            return None
        try:
            return JSONBody(raw, self._edit)
        except (ValueError, RecursionError):
            return None  # Decoding a single field skips errors in others.

    def _names_model(self, raw: bytes) -> bool:
        """Whether a body names a model, or is not a JSON object."""
        try:
            name = self._decoder.decode(raw).name
        except (ValueError, RecursionError):
            document = decode_object(raw)
            return document is None or self._has_name(document)
        return bytes(name) not in _EMPTY_NAMES

    def _has_name(self, document: dict[str, Any]) -> bool:
        return document.get(self.field) not in (None, "")


def requires_field(app: FastAPI, path: str, field: str) -> bool:
    """Whether a route's pydantic model requires a field."""
    return any(
        declared is not None and declared.is_required()
        for route in find_routes(app, path, ["POST"])
        for alternatives in declared_fields(route.endpoint, field)
        for declared in alternatives
    )
