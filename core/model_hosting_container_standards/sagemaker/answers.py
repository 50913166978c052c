"""Who answers a route of the contract: customer, framework, engine, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from ..common.fastapi.endpoint import as_endpoint, describe, unwrap
from ..common.fastapi.routing import (
    add_route,
    find_routes,
    find_target,
    split_dependencies,
)
from ..common.handler.registry import INVOKE, PING, Handler, handler_registry
from ..common.handler.resolver import CustomerHandler, resolve_customer_handler
from ..config import Settings
from ..engine import Engine
from ..exceptions import HandlerNotFoundError
from ..logging_config import get_logger
from .config import INVOCATIONS_ROUTE, PING_ROUTE, RouteConfig
from .invocations import ByBody

logger = get_logger(__name__)

_HANDLER_OF = {PING_ROUTE: PING, INVOCATIONS_ROUTE: INVOKE}


@dataclass(frozen=True, slots=True)
class Answer:
    """What answers a route of the contract.

    ``handlers`` maps each method to an ASGI app. ``function`` is the handler itself,
    None where there is more than one. ``by_engine`` tells that the engine's own routes
    answer, nobody's handler.
    """

    route: RouteConfig
    handlers: Mapping[str, ASGIApp] = field(repr=False)
    source: str
    function: Handler | None = None
    by_engine: bool = False


@dataclass(frozen=True, slots=True)
class AnswerFinder:
    """Finds who answers, for one app at its start."""

    app: FastAPI
    engine: Engine | None
    settings: Settings
    script: ModuleType | None

    def find(self, route: RouteConfig) -> Answer | None:
        """Return who answers ``route``, or None when nobody does.

        Raises:
            HandlerResolutionError: a handler was asked for that cannot be used.
        """
        name = _HANDLER_OF[route]
        customer = resolve_customer_handler(name, self.settings, self.script)
        if customer is not None:
            return self._by_customer(route, customer)
        return (
            self._by_framework(route, name)
            or self._by_own_route(route)
            or self._by_engine(route)
        )

    def _by_customer(self, route: RouteConfig, customer: CustomerHandler) -> Answer:
        if customer.handler is not None:
            return self._by_function(route, customer.source, customer.handler)
        path = str(customer.path)
        handlers = self._targets(route, path)
        if not handlers:
            raise HandlerNotFoundError(
                f"{customer.source}: this server has no route {path!r} for "
                f"{' or '.join(route.methods)}."
            )
        return Answer(route, handlers, customer.source, by_engine=True)

    def _by_framework(self, route: RouteConfig, name: str) -> Answer | None:
        function = handler_registry.get_framework(name)
        if function is None:
            return None
        has_route = any(
            unwrap(found.endpoint) is unwrap(function)
            for found in find_routes(self.app, route.path)
        )
        # Made while this app was built, or served by its route: nobody else's.
        if has_route or "<locals>" in getattr(unwrap(function), "__qualname__", ""):
            handler_registry.forget_framework(name)
        if has_route:
            return None
        return self._by_function(route, "registered by the framework", function)

    def _by_own_route(self, route: RouteConfig) -> Answer | None:
        handlers = self._targets(route, route.path)
        if not handlers:
            return None
        found = find_routes(self.app, route.path)
        function = found[0].endpoint if found else None
        return Answer(route, handlers, self._own_route_of(), function, by_engine=True)

    def _by_engine(self, route: RouteConfig) -> Answer | None:
        if self.engine is None:
            return None
        if route is PING_ROUTE:
            path = self.engine.health_path
            handlers = self._targets(route, path)
        else:
            path = "the route that fits the body"
            routes = self._routes_by_body(self.engine)
            handlers = {"POST": ByBody(routes)} if routes else {}
        source = f"{self.engine.name} has no {route.path}; {path} answers"
        return Answer(route, handlers, source, by_engine=True) if handlers else None

    def _routes_by_body(self, engine: Engine) -> dict[str, ASGIApp]:
        targets = {
            key: find_target(self.app, path, "POST")
            for key, path in engine.invocation_paths.items()
        }
        return {key: target for key, target in targets.items() if target is not None}

    def _targets(self, route: RouteConfig, path: str) -> dict[str, ASGIApp]:
        """Return the app's route ``path`` for each method, by whichever it takes."""
        targets: dict[str, ASGIApp] = {}
        for method in route.methods:
            others = [other for other in route.methods if other != method]
            if target := find_target(self.app, path, method, *others):
                targets[method] = target
        return targets

    def _own_route_of(self) -> str:
        owner = self.engine.name if self.engine else "the server"
        return f"{owner}'s own route"

    def _by_function(
        self, route: RouteConfig, source: str, function: Handler
    ) -> Answer:
        """Give the app a FastAPI route for ``function``.

        It goes to the end of the routes: the request is led there by the contract's
        route at the front, and OpenAPI shows the last of several for one path.
        """
        replaced = find_routes(self.app, route.path)
        security, dropped = split_dependencies(self.app, replaced)
        if dropped:
            logger.info(
                "%s (%s) replaces a route, whose dependencies go with it: %s",
                route.path,
                source,
                ", ".join(describe(d.dependency) for d in dropped if d.dependency),
            )
        endpoint = as_endpoint(function)
        taken = {found.name for found in replaced}
        handlers: dict[str, ASGIApp] = {}
        for method in route.methods:
            options: dict[str, Any] = {"dependencies": security}
            if endpoint.__name__ in taken:
                options["operation_id"] = f"{endpoint.__name__}_{method}_override"
            handlers[method] = add_route(
                self.app, route.path, endpoint, method, **options
            )
        return Answer(route, handlers, source, function)
