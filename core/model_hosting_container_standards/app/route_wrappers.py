"""Wrap an app's router in what other routes than ``/invocations`` need."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import FastAPI

from ..adapters import decorated_routes
from ..adapters.adapter_id import AdapterField
from ..adapters.adapter_middleware import AdapterMiddleware
from ..adapters.runtime import AdapterRuntime
from ..contract.routes import INVOCATIONS_ROUTE
from ..engines.api import Engine
from ..sessions import stateful_routes
from ..sessions.session_middleware import SessionMiddleware, SessionsDisabled
from .inference_routes import InferenceRoutes
from .resolution import HandlerResolver


def wrap_inference_routes(
    resolver: HandlerResolver,
    engine: Engine,
    adapters: AdapterRuntime,
    inference_paths: Collection[str],
) -> None:
    """Apply the adapter header on the engine's own inference routes too."""
    router = resolver.app.router
    inner = router.middleware_stack
    field = AdapterField(engine.description.adapter_path)
    handlers = {path: resolver.with_model(path, inner) for path in inference_paths}
    if handlers:
        adapter_middleware = AdapterMiddleware([field], adapters, takes_forms=True)
        routes = InferenceRoutes(inner, handlers, adapter_middleware)
        router.middleware_stack = routes  # type: ignore[assignment] # any ASGI app


def wrap_adapter_routes(
    app: FastAPI, adapters: AdapterRuntime, inference_paths: Collection[str]
) -> None:
    """Apply the adapter header on decorated routes other than ``/invocations`` too."""
    handled = {INVOCATIONS_ROUTE.path, *inference_paths}
    if places := decorated_routes.find_places(app, adapters, handled):
        inner = app.router.middleware_stack
        routes = decorated_routes.DecoratedRoutes(inner, places)
        app.router.middleware_stack = routes  # type: ignore[assignment] # any ASGI app


def wrap_stateful_routes(app: FastAPI, sessions: SessionMiddleware | None) -> None:
    """Run the session step on decorated routes other than ``/invocations`` too."""
    # Again: the routes that were added may come before them.
    if places := stateful_routes.find_places(app):
        session = sessions or SessionsDisabled(passes_header=False)
        inner = app.router.middleware_stack
        routes = stateful_routes.StatefulRoutes(inner, places, session)
        app.router.middleware_stack = routes  # type: ignore[assignment] # any ASGI app
