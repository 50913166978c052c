"""The ``/invocations`` route: sessions, adapters, and the choice of the handler."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fastapi import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from ..adapters.adapter_middleware import AdapterMiddleware
from ..adapters.unknown_model import UnknownModels
from ..asgi.body import (
    JSON_BODY,
    as_json,
    declare_json,
    decode_object,
    read_body,
    replace_body,
)
from ..asgi.header_values import header_values
from ..asgi.json_lines import json_lines_type
from ..contract.headers import (
    ADAPTER_IDENTIFIER,
    CONTENT_TYPE,
    CUSTOM_ATTRIBUTES,
    header_text,
)
from ..sessions.session_middleware import SessionMiddleware, call_in_session

if TYPE_CHECKING:  # It imports prometheus_client, which only a server needs.
    from .json_lines import JSONLines

_EQUALS: Final = re.compile(r"\s*=\s*")
_SEPARATORS: Final = re.compile(r"[,;\s]+")
_ROUTE: Final = "route="


class Invocations:
    """The ASGI app of ``/invocations``: session step, adapter step, handler.

    It has no coroutine of its own, which would cost time in every request.

    Args:
        handler: the app that answers.
        session: opens, checks and closes sessions.
        adapter: applies the adapter header.
        routes: apps that the ``route`` attribute can choose, by path; None for a
            customer's handler, which gets the attribute itself.
        unknown: lets the base model answer for unknown models; None: they are a 404.
        lines: answers JSON Lines, line by line; None: the handler gets them as a whole.
    """

    def __init__(
        self,
        handler: ASGIApp,
        session: SessionMiddleware,
        adapter: AdapterMiddleware,
        routes: Mapping[str, ASGIApp] | None,
        unknown: UnknownModels | None,
        lines: JSONLines | None,
    ) -> None:
        self.handler = handler
        self.session = session
        self.adapter = adapter
        self.routes = routes
        self.unknown = unknown
        self.lines = lines

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        headers = header_values(scope)
        if self.lines is not None:
            media_type = json_lines_type(headers.get(CONTENT_TYPE))
            if media_type is not None:
                return self.lines.answer(self, media_type, scope, receive, send)
        handler = self.handler
        if self.routes is not None and (chosen := headers.get(CUSTOM_ATTRIBUTES)):
            handler = self._chosen_route(header_text(chosen))
        adapter = headers.get(ADAPTER_IDENTIFIER)
        if adapter and self.adapter.fields:
            handler = partial(self.adapter, handler, headers)
        elif self.unknown is not None and not adapter:
            handler = partial(self.unknown.answer, handler)
        return call_in_session(self.session, headers, handler, scope, receive, send)

    def _chosen_route(self, attributes: str) -> ASGIApp:
        chosen = _route_attributes(attributes)
        if not chosen:
            return self.handler
        routes = self.routes or {}
        if len(chosen) == 1 and (route := chosen.pop()) in routes:
            return routes[route]
        problem = (
            f"must be one of the server's inference routes: {', '.join(sorted(routes))}"
            if routes
            else "cannot be used, as the server has no other inference route"
        )
        raise HTTPException(
            400, f"X-Amzn-SageMaker-Custom-Attributes: route= {problem}."
        )


def _route_attributes(attributes: str) -> set[str]:
    """Return the values of ``route`` among attributes such as ``a=1, route=/v1/x``."""
    parts = _SEPARATORS.split(_EQUALS.sub("=", attributes))
    return {part.removeprefix(_ROUTE) for part in parts if part.startswith(_ROUTE)}


class JSONContentType:
    """Sets the content type of a request whose body is a JSON object."""

    def __init__(self, route: ASGIApp) -> None:
        self.route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            scope, receive = await declare_json(scope, receive)
        except ClientDisconnect:
            return
        await self.route(scope, receive, send)


class BodyRouter:
    """Routes a request by its body: the first key that the body has decides.

    Args:
        routes: apps by body key, in order of precedence.
    """

    def __init__(self, routes: Mapping[str, ASGIApp]) -> None:
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if JSON_BODY in scope:
            document = scope[JSON_BODY].document
        else:
            try:
                raw = await read_body(receive)
            except ClientDisconnect:
                return
            receive = replace_body(receive, raw)
            document = decode_object(raw)
            scope = as_json(scope)
        await self._choose(document)(scope, receive, send)

    def _choose(self, document: dict[str, Any] | None) -> ASGIApp:
        for key, route in self.routes.items():
            if key in (document or {}):
                return route
        keys = ", ".join(repr(key) for key in self.routes)
        raise HTTPException(400, f"The body must be a JSON object with one of {keys}.")
