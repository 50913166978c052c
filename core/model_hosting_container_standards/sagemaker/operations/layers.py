"""Puts around an app what is to be there, and nothing that is off."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import ASGIApp

from ...config import Settings
from ...engine import Engine
from .metrics import RESTARTS
from .observation import Observation
from .paths import known_routes


def surround(app: FastAPI, settings: Settings, engine: Engine | None) -> None:
    """Put them outside of all that the app has, when the server starts.

    Raises:
        ConfigurationError: a variable has a value that is not allowed.
    """
    layers = Layers(app, settings, engine)
    RESTARTS.set(settings.restarts)
    if app.middleware_stack is not None:  # It has answered requests already.
        app.middleware_stack = layers.around(app.middleware_stack)
        return
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: layers.around(build())  # type: ignore[method-assign]


class Layers:
    """What goes around an app, as its environment has it."""

    def __init__(self, app: FastAPI, settings: Settings, engine: Engine | None) -> None:
        self._routes = known_routes(engine.inference_paths(app) if engine else ())
        self._max_body_bytes = settings.max_body_bytes
        self._keys: set[str] = set()
        if settings.api_key or settings.guard:
            from .api_key import find_keys

            self._keys = find_keys(app, settings, engine)

    def around(self, app: ASGIApp) -> ASGIApp:
        """Return ``app`` in all of them."""
        return Observation(
            self._traced(self._guarded(self._limited(app))), self._routes
        )

    def _limited(self, app: ASGIApp) -> ASGIApp:
        if self._max_body_bytes is None:
            return app
        from .body_limit import BodyLimit

        return BodyLimit(app, self._max_body_bytes)

    def _guarded(self, app: ASGIApp) -> ASGIApp:
        if not self._keys:
            return app
        from .api_key import APIKey

        return APIKey(app, self._keys)

    def _traced(self, app: ASGIApp) -> ASGIApp:
        from .tracing import Tracing, configured_tracer

        tracer = configured_tracer()
        return app if tracer is None else Tracing(app, tracer, self._routes)
