"""Puts around an app what is to be there, and nothing that is off."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI
from starlette.types import ASGIApp

from ..adapters.runtime import AdapterRuntime
from ..engines.api import Engine
from ..observability.route_labels import PING
from ..settings import Settings


class OuterMiddleware:
    """What may go around an app, as its environment has it: key, limit and spans.

    And the leases of requests, if its engine loads adapters.
    """

    def __init__(
        self,
        app: FastAPI,
        settings: Settings,
        engine: Engine | None,
        routes: Mapping[str, str],
        adapters: AdapterRuntime,
    ) -> None:
        """Find out what is asked for.

        Raises:
            ConfigurationError: a variable has a value that is not allowed.
        """
        self._routes = routes
        self._adapters = adapters
        self._max_body_bytes = settings.max_body_bytes
        self._keys: set[str] = set()
        if settings.api_key or settings.guard:
            from ..guard.api_key import find_keys

            self._keys = find_keys(app, settings, engine)

    def around(self, app: ASGIApp) -> ASGIApp:
        """Return ``app`` in all of them. The SDK of spans is set up by now, or not."""
        return self._traced(self._gated(self._leasing(app)))

    def _leasing(self, app: ASGIApp) -> ASGIApp:
        if not self._adapters.has_engine:
            return app
        from ..adapters.lease_middleware import LeaseMiddleware

        return LeaseMiddleware(app, self._adapters)

    def around_unpacking(self, app: ASGIApp) -> ASGIApp:
        """Return the same for requests whose bodies are compressed."""
        # With it comes zlib, which few servers need.
        from ..guard.content_encoding import Decompression

        return self.around(Decompression(app, self._max_body_bytes))

    def _gated(self, app: ASGIApp) -> ASGIApp:
        if not self._keys and self._max_body_bytes is None:
            return app
        from ..guard.request_guard import RequestGuard

        free = {path for path, route in self._routes.items() if route == PING}
        return RequestGuard(app, self._keys, self._max_body_bytes, free)

    def _traced(self, app: ASGIApp) -> ASGIApp:
        from ..observability.tracing import Tracing, configured_tracer

        tracer = configured_tracer()
        return app if tracer is None else Tracing(app, tracer, self._routes)
