"""The adapter header on an app's decorated routes, beside ``/invocations``."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Sequence
from typing import NamedTuple

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from ..asgi.header_values import header_values
from ..asgi.route_patterns import RoutePattern, iter_patterns
from ..contract.headers import ADAPTER_IDENTIFIER
from ..observability.route_labels import local_path
from .adapter_id import adapter_fields
from .adapter_middleware import AdapterMiddleware
from .runtime import AdapterRuntime


class Place(NamedTuple):
    """A route in the order of an app's routes.

    Args:
        adapter: applies the header to a decorated route; None for another one.
    """

    pattern: RoutePattern
    adapter: AdapterMiddleware | None


def find_places(
    app: FastAPI, adapters: AdapterRuntime, handled: Collection[str]
) -> list[Place]:
    """Return the app's routes down to the last decorated one; [] without any.

    Args:
        handled: paths on which the header has an effect already.
    """
    places: list[Place] = []
    for pattern in iter_patterns(app):
        endpoint = None if pattern.template in handled else pattern.endpoint
        fields = adapter_fields(endpoint) if endpoint is not None else ()
        adapter = AdapterMiddleware(fields, adapters, takes_forms=False)
        places.append(Place(pattern, adapter if fields else None))
    while places and places[-1].adapter is None:
        places.pop()
    return places


class DecoratedRoutes:
    """Applies the adapter header to requests for decorated routes.

    It wraps the router, as FastAPI decodes a body before it calls a handler.

    Args:
        app: the router, which answers all requests.
        places: see :func:`find_places`.
    """

    def __init__(self, app: ASGIApp, places: Sequence[Place]) -> None:
        self.app = app
        self.places = places

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            headers = header_values(scope)
            if headers.get(ADAPTER_IDENTIFIER) and (adapter := self._adapter(scope)):
                return adapter(self.app, headers, scope, receive, send)
        return self.app(scope, receive, send)

    def _adapter(self, scope: Scope) -> AdapterMiddleware | None:
        path, method = local_path(scope), scope["method"]
        # The first route that matches answers.
        matching = (p.adapter for p in self.places if p.pattern.matches(path, method))
        return next(matching, None)
