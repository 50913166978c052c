"""The app of ``/invocations``, for the handler that was found."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from ..adapters.adapter_id import AdapterField, adapter_fields
from ..adapters.adapter_middleware import AdapterMiddleware
from ..adapters.runtime import AdapterRuntime
from ..adapters.unknown_model import UnknownModels
from ..asgi.routing import find_routes
from ..contract.routes import INVOCATIONS_ROUTE
from ..sessions.protected_sessions import protect
from ..sessions.session_middleware import SessionMiddleware, SessionsDisabled
from .invocations import BodyRouter, Invocations, JSONContentType
from .resolution import HandlerResolver, ResolvedHandler

if TYPE_CHECKING:  # It imports prometheus_client, which only a server needs.
    from .json_lines import JSONLines


def make_invocations(
    resolver: HandlerResolver,
    resolved: ResolvedHandler,
    sessions: SessionMiddleware | None,
    adapters: AdapterRuntime,
    inference_paths: Collection[str],
    lines: JSONLines | None,
) -> Invocations:
    """Return the app of ``/invocations``.

    Args:
        resolved: the handler that answers.
        sessions: the session step; None while sessions are off.
        inference_paths: the engine's inference routes, which a request may select.
        lines: answers JSON Lines; None: the handler gets them as a whole.
    """
    handler = resolved.handlers["POST"]
    fields = adapter_fields(resolved.function) if resolved.function else ()
    routes: dict[str, ASGIApp] | None = {} if resolved.by_route else None
    by_engine = resolved.by_route and resolver.engine is not None
    if resolved.by_route and resolver.engine is not None:
        fields = fields or (AdapterField(resolver.engine.description.adapter_path),)
        routes = dict(_selectable_routes(resolver, inference_paths))
    by_body = isinstance(handler, BodyRouter)
    # An app with an /invocations route of its own checks content types itself.
    own_routes = find_routes(
        resolver.app, INVOCATIONS_ROUTE.path, INVOCATIONS_ROUTE.methods
    )
    if routes is not None and (by_body or not own_routes):
        handler = handler if by_body else JSONContentType(handler)
        routes = {path: JSONContentType(route) for path, route in routes.items()}
    adapter_middleware = AdapterMiddleware(fields, adapters, takes_forms=by_engine)
    unknown = UnknownModels() if resolver.settings.unknown_model else None
    session = protect(
        sessions or SessionsDisabled(passes_header=resolved.by_customer),
        resolved.security,
    )
    return Invocations(handler, session, adapter_middleware, routes, unknown, lines)


def _selectable_routes(
    resolver: HandlerResolver, inference_paths: Collection[str]
) -> Iterator[tuple[str, ASGIApp]]:
    """Yield the inference routes that the custom attribute ``route`` may select.

    A route with weaker protection than ``/invocations`` is left out.
    """
    for path in inference_paths:
        target = resolver.find_target(path, "POST")
        if target is not None and resolver.protects(INVOCATIONS_ROUTE, path):
            yield path, resolver.with_model(path, target)
