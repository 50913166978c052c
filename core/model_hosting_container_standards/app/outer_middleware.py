"""The middleware around an app; features that are off add no layer."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fastapi import FastAPI
from starlette.types import ASGIApp, Scope

from ..adapters.runtime import AdapterRuntime
from ..engines.api import Engine
from ..observability.route_labels import PING, route_of
from ..settings import Settings


class OuterMiddleware:
    """Builds the outer middleware: tracing, key and body limit, adapter leases.

    Each layer is only added if its feature is on.
    """

    def __init__(
        self,
        app: FastAPI,
        settings: Settings,
        engine: Engine | None,
        routes: Mapping[str, str],
        adapters: AdapterRuntime,
        any_encoding: Collection[str],
    ) -> None:
        """Read the settings.

        Raises:
            ConfigurationError: a variable has an invalid value.
        """
        self._routes = routes
        self._adapters = adapters
        self._any_encoding = any_encoding
        self._max_body_bytes = settings.max_body_bytes
        self._keys: set[str] = set()
        if settings.api_key or settings.guard:
            from ..guard.api_key import find_keys

            self._keys = find_keys(app, settings, engine)

    def around(self, app: ASGIApp) -> ASGIApp:
        """Return ``app`` with all layers; tracing must be configured by now."""
        return self._with_tracing(self._with_guard(self._with_leases(app)))

    def _with_leases(self, app: ASGIApp) -> ASGIApp:
        if not self._adapters.has_engine:
            return app
        from ..adapters.lease_middleware import LeaseMiddleware

        return LeaseMiddleware(app, self._adapters)

    def around_decompression(self, app: ASGIApp) -> ASGIApp:
        """Return ``app`` with all layers and decompression, for compressed bodies."""
        # Imported here, as it imports zlib.
        from ..guard.content_encoding import Decompression

        def takes_any(scope: Scope) -> bool:
            return route_of(scope, self._routes) in self._any_encoding

        return self.around(Decompression(app, self._max_body_bytes, takes_any))

    def _with_guard(self, app: ASGIApp) -> ASGIApp:
        if not self._keys and self._max_body_bytes is None:
            return app
        from ..guard.request_guard import RequestGuard

        public = {path for path, route in self._routes.items() if route == PING}
        return RequestGuard(app, self._keys, self._max_body_bytes, public)

    def _with_tracing(self, app: ASGIApp) -> ASGIApp:
        from ..observability.tracing import Tracing, configured_tracer

        tracer = configured_tracer()
        return app if tracer is None else Tracing(app, tracer, self._routes)
