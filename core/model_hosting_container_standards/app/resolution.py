"""Find the handler of a contract route: customer, framework, engine, in this order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import msgspec
from fastapi import FastAPI
from starlette.types import ASGIApp

from ..adapters.runtime import AdapterRuntime
from ..asgi.endpoint import as_endpoint, describe
from ..asgi.routing import (
    add_route,
    find_routes,
    find_target,
    has_route,
    security_of,
    split_dependencies,
)
from ..asgi.security_check import SecurityCheck, security_check
from ..contract.routes import INVOCATIONS_ROUTE, PING_ROUTE, RouteConfig
from ..engines.api import Engine
from ..exceptions import HandlerNotCallableError, HandlerNotFoundError
from ..handlers.customer_handler import CustomerHandler, resolve_customer_handler
from ..handlers.ownership import claim
from ..handlers.registry import Handler, handler_registry
from ..logging_config import get_logger
from ..sessions.decorators import session_fields_of
from ..sessions.session_middleware import with_session_id
from ..sessions.stateful_routes import Place, fields_at
from ..settings import Settings
from .inference_routes import MODEL, DefaultModel, ModelSelection, requires_field
from .invocations import BodyRouter

logger = get_logger(__name__)


class ResolvedHandler(msgspec.Struct, frozen=True):
    """The handler of a contract route.

    Args:
        handlers: an ASGI app for each method.
        source: where the handler comes from, for the log.
        function: the handler function; None if there are several.
        by_route: whether a route of the app answers, instead of a handler of the
            customer or the framework.
        by_customer: whether it is a handler of the customer.
        security: the check of its Security dependencies, if it has any.
    """

    route: RouteConfig
    handlers: Mapping[str, ASGIApp]
    source: str
    function: Handler | None = None
    by_route: bool = False
    by_customer: bool = False
    security: SecurityCheck | None = None


class HandlerResolver(msgspec.Struct, frozen=True):
    """Finds the handlers of an app at its start.

    Args:
        script: the customer's script, if there is one.
        adapters: the adapters of the app.
        places: the decorated routes, to which requests may be forwarded.
    """

    app: FastAPI
    engine: Engine | None
    settings: Settings
    script: ModuleType | None
    adapters: AdapterRuntime
    places: Sequence[Place]

    def find(self, route: RouteConfig) -> ResolvedHandler | None:
        """Return the handler of ``route``, if it has one.

        Raises:
            HandlerResolutionError: a configured handler cannot be used.
        """
        customer = resolve_customer_handler(route.handler, self.settings, self.script)
        if customer is not None:
            return self._by_customer(route, customer)
        return (
            self._by_framework(route)
            or self._by_own_route(route)
            or self._by_engine(route)
        )

    def protects(self, route: RouteConfig, path: str) -> bool:
        """Whether ``path`` has all Security dependencies of the app's own ``route``."""
        required = security_of(self.app, self._own(route))
        target = find_routes(self.app, path, route.methods)
        return all(d in security_of(self.app, target) for d in required)

    def find_target(self, path: str, *methods: str) -> ASGIApp | None:
        """Return the route that answers ``path``, for the first method with one.

        A session's id is written into the body if the route is decorated.
        """
        target = find_target(self.app, path, *methods)
        if target is None:
            return None
        return with_session_id(target, fields_at(self.places, path, target.method))

    def with_model(self, path: str, handler: ASGIApp) -> ASGIApp:
        """Return ``handler`` with the step that an inference route's model needs.

        A route that requires a model gets a default. An engine that does not check the
        name gets a check.
        """
        if self.engine is None:
            return handler
        if not self.engine.description.checks_models:
            return ModelSelection(handler, MODEL, self.adapters)
        field = self.engine.description.adapter_path
        if not requires_field(self.app, path, field):
            return handler
        return DefaultModel(handler, field, self.adapters.base_model)

    def _by_customer(
        self, route: RouteConfig, customer: CustomerHandler
    ) -> ResolvedHandler:
        if customer.handler is not None:
            answer = self._by_function(route, customer.source, customer.handler)
            return msgspec.structs.replace(answer, by_customer=True)
        path = str(customer.path)
        handlers = self._targets(route, path)
        if not handlers:
            raise HandlerNotFoundError(
                f"{customer.source}: this server has no route {path!r} for "
                f"{' or '.join(route.methods)}."
            )
        if not self.protects(route, path):
            raise HandlerNotCallableError(
                f"{customer.source}: {route.path} has a Security dependency that "
                f"{path} lacks: requests would bypass it."
            )
        return ResolvedHandler(
            route,
            handlers,
            customer.source,
            by_route=True,
            security=self._security_of(route, path),
        )

    def _by_framework(self, route: RouteConfig) -> ResolvedHandler | None:
        function = self._registered(route.handler)
        if function is None or has_route(self._own(route), function):
            return None
        return self._by_function(route, "registered by the framework", function)

    def _registered(self, name: str) -> Handler | None:
        return claim(handler_registry.framework, name, self.app, _itself)

    def _by_own_route(self, route: RouteConfig) -> ResolvedHandler | None:
        description = self.engine.description if self.engine else None
        if (
            description is not None
            and description.replaces_invocations
            and route is INVOCATIONS_ROUTE
        ):
            return None
        handlers = self._targets(route, route.path)
        if not handlers:
            return None
        own = find_routes(self.app, route.path, route.methods[:1])
        function = own[0].endpoint if own else None
        source = f"{self.engine.name if self.engine else 'the server'}'s own route"
        security = self._security_of(route, route.path)
        return ResolvedHandler(
            route, handlers, source, function, by_route=True, security=security
        )

    def _by_engine(self, route: RouteConfig) -> ResolvedHandler | None:
        if self.engine is None:
            return None
        if route is PING_ROUTE:
            path = self.engine.description.health_path
            handlers = self._targets(route, path)
        else:
            path = "the route that fits the body"
            routes = self._routes_by_body(self.engine)
            handlers = {"POST": BodyRouter(routes)} if routes else {}
        source = f"{self.engine.name}: {path}"
        return (
            ResolvedHandler(route, handlers, source, by_route=True)
            if handlers
            else None
        )

    def _routes_by_body(self, engine: Engine) -> dict[str, ASGIApp]:
        """Return the engine's inference routes, by the body key that each expects."""
        routes: dict[str, ASGIApp] = {}
        for key, paths in engine.description.invocation_paths.items():
            targets = ((path, self.find_target(path, "POST")) for path in paths)
            for path, target in targets:
                if target is not None:
                    routes[key] = self.with_model(path, target)
                    break
        return routes

    def _security_of(self, route: RouteConfig, path: str) -> SecurityCheck | None:
        """Return the check of the first route that answers ``path``."""
        found = find_routes(self.app, path, route.methods)
        return security_check(self.app, path, found[0]) if found else None

    def _own(self, route: RouteConfig) -> list[Any]:
        """Return the app's own routes with the contract route's path and methods."""
        return find_routes(self.app, route.path, route.methods)

    def _targets(self, route: RouteConfig, path: str) -> dict[str, ASGIApp]:
        """Return the target of ``path`` for each method of ``route``.

        A method that the path does not accept uses the target of another method.
        """
        exact = {
            method
            for own in find_routes(self.app, path, route.methods)
            for method in own.methods
        }
        targets: dict[str, ASGIApp] = {}
        for method in route.methods:
            others = [other for other in route.methods if other != method]
            # A route with this exact path precedes a pattern that takes all methods.
            order = [m for m in (method, *others) if m in exact] or [method, *others]
            if target := self.find_target(path, *order):
                targets[method] = target
        return targets

    def _by_function(
        self, route: RouteConfig, source: str, function: Handler
    ) -> ResolvedHandler:
        """Add a FastAPI route for ``function`` and return its handlers.

        It is added behind all routes: the contract's route at the front forwards
        requests to it, and OpenAPI shows the last route of a path.
        """
        replaced = self._own(route)
        security, dropped = split_dependencies(self.app, replaced)
        if dropped:
            logger.info(
                "%s (%s) replaces a route; its dependencies no longer apply: %s",
                route.path,
                source,
                ", ".join(describe(d.dependency) for d in dropped if d.dependency),
            )
        endpoint = as_endpoint(function)
        names = {replaced_route.name for replaced_route in replaced}
        handlers: dict[str, ASGIApp] = {}
        for method in route.methods:
            options: dict[str, Any] = {"dependencies": security}
            if endpoint.__name__ in names:
                options["operation_id"] = f"{endpoint.__name__}_{method}_override"
            added = add_route(self.app, route.path, endpoint, method, **options)
            handlers[method] = with_session_id(added, session_fields_of(function))
        check = security_check(self.app, route.path, self.app.router.routes[-1])
        return ResolvedHandler(route, handlers, source, function, security=check)


def _itself(handler: Handler) -> Handler:
    return handler
