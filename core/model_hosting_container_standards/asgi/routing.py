"""Find and call routes of a FastAPI app, with every FastAPI version.

FastAPI >= 0.137 keeps an included router as one nested entry of ``app.router.routes``;
earlier versions copy its routes. Only what both have is used here: an entry's
``matches`` and ``handle``, and FastAPI's own flattening where it exists.
"""

from __future__ import annotations

from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
)
from typing import Any

import fastapi.routing
from fastapi import FastAPI, HTTPException, params
from fastapi.exceptions import FastAPIError
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Host, Match, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ..exceptions import HandlerNotCallableError
from .body import JSON_BODY, JSONRequest, declare_json
from .endpoint import describe, unwrap


class JSONRoute(APIRoute):
    """A FastAPI route that decodes JSON bodies with the faster decoder."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        body = getattr(self.body_field, "field_info", None)
        takes_json = body is not None and not isinstance(body, params.Form)

        async def handle_json(request: Request) -> Response:
            if takes_json and JSON_BODY not in request.scope:
                try:
                    declared = await declare_json(request.scope, request.receive)
                except ClientDisconnect:
                    # FastAPI, too, answers 400 if reading the body fails.
                    raise HTTPException(400, "The body is incomplete.") from None
                request = Request(*declared)
            return await handle(JSONRequest.of(request))

        return handle_json


class RouteTarget:
    """A route of an app, as an ASGI app that serves requests of any path and method.

    The route always gets its own path and method.
    """

    def __init__(self, entry: BaseRoute, path: str, method: str) -> None:
        self.entry = entry
        self.path = path
        self.method = method
        self.child_scope = self._constant_child_scope()
        # Starlette's own `handle` only checks the method again.
        is_plain = isinstance(entry, Route) and type(entry).handle is Route.handle
        self._call = "app" if is_plain else "handle"

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # Not a coroutine function, which would cost time in every request.
        if scope["path"] != self.path or scope["method"] != self.method:
            scope = self._redirected(scope)
        child_scope = self.child_scope
        if child_scope is None:
            _, child_scope = self.entry.matches(scope)
        scope.update(child_scope)
        answer: ASGIApp = getattr(self.entry, self._call)
        return answer(scope, receive, send)

    def _redirected(self, scope: Scope) -> Scope:
        """Return the scope of a request of another path or method."""
        path = scope.get("root_path", "") + self.path
        if scope["path"] not in (path, self.path):
            scope = {**scope, "path": path, "raw_path": path.encode()}
        return {**scope, "method": self.method}

    def _constant_child_scope(self) -> Scope | None:
        """Return what a match adds to any scope; None if it depends on the request."""
        match, child_scope = self.entry.matches(request_scope(self.path, self.method))
        constant = child_scope.keys() <= {"endpoint", "path_params", "route"}
        if match is not Match.FULL or child_scope.get("path_params") or not constant:
            return None
        return child_scope


def find_target(app: FastAPI, path: str, *methods: str) -> RouteTarget | None:
    """Return the route that answers ``path``, for the first of ``methods`` with one.

    Mounted apps are not considered.
    """
    for method in methods:
        scope = request_scope(path, method)
        for entry in app.router.routes:
            # A mount matches every path below its own, whether or not it has a route.
            if isinstance(entry, Mount):
                continue
            if entry.matches(dict(scope))[0] is Match.FULL:
                return RouteTarget(entry, path, method)
    return None


def move_to_front(app: FastAPI, paths: Collection[str], method: str) -> None:
    """Move the routes of these paths to the front, where the router finds them sooner.

    Every request is answered by the same route as before: a route is moved only if it
    is the one that the router chooses for its path.
    """
    chosen = [_chosen(app, path, method) for path in paths]
    routes = app.router.routes
    # False sorts before True, and the order stays the same otherwise.
    routes.sort(key=lambda entry: not any(entry is route for route in chosen))


def _chosen(app: FastAPI, path: str, method: str) -> BaseRoute | None:
    """Return the route that answers a path, if it answers no other path."""
    scope = request_scope(path, method)
    for entry in app.router.routes:
        if isinstance(entry, Host):  # It may match a request that has a host.
            return None
        if entry.matches(dict(scope))[0] is Match.FULL:
            is_fixed = isinstance(entry, Route) and entry.path == path
            return entry if is_fixed else None
    return None


def request_scope(path: str, method: str) -> Scope:
    """Return a minimal scope for matching routes."""
    return {
        "type": "http",
        "path": path,
        "root_path": "",
        "method": method,
        "headers": [],
        "query_string": b"",
    }


def iter_routes(app: FastAPI) -> Iterator[Any]:
    """Yield the app's routes, including those of included routers.

    FastAPI's routes have ``path``, ``methods``, ``endpoint`` and ``dependencies``; on
    others, such as mounts, any of them may be missing or None.
    """
    yield from flatten_routes(app.router.routes)


def flatten_routes(routes: Iterable[BaseRoute]) -> Iterator[Any]:
    """Yield routes, with those of included routers in their place."""
    flatten = getattr(fastapi.routing, "iter_route_contexts", iter)
    yield from flatten(routes)


def find_routes(app: FastAPI, path: str, methods: Iterable[str]) -> list[Any]:
    """Return the app's FastAPI routes with exactly this path and any of the methods."""
    return [
        route
        for route in iter_routes(app)
        if getattr(route, "path", None) == path
        and hasattr(route, "dependencies")
        and not route.methods.isdisjoint(methods)
    ]


def has_route(routes: Iterable[Any], function: Callable[..., Any]) -> bool:
    """Whether ``function``, decorated or not, is the endpoint of one of the routes."""
    return any(
        unwrap(endpoint) == unwrap(function)  # Bound methods are equal, not identical.
        for route in routes
        if (endpoint := getattr(route, "endpoint", None)) is not None
    )


def security_of(app: FastAPI, routes: Iterable[Any]) -> list[params.Depends]:
    """Return the ``Security`` dependencies of the routes."""
    return split_dependencies(app, routes)[0]


def split_dependencies(
    app: FastAPI, routes: Iterable[Any]
) -> tuple[list[params.Depends], list[params.Depends]]:
    """Return the routes' ``Security`` dependencies and the others, without duplicates.

    Dependencies of the app are left out: every added route has them anyway.
    """
    security: list[params.Depends] = []
    others: list[params.Depends] = []
    for dependency in (d for route in routes for d in route.dependencies):
        group = security if isinstance(dependency, params.Security) else others
        if dependency not in (*group, *app.router.dependencies):
            group.append(dependency)
    return security, others


def add_route(
    app: FastAPI, path: str, endpoint: Callable[..., Any], method: str, **options: Any
) -> RouteTarget:
    """Add a FastAPI route behind all others, and return it.

    Args:
        options: further arguments of ``APIRouter.add_api_route``.

    Raises:
        HandlerNotCallableError: FastAPI does not support the signature.
    """
    options.update(methods=[method], route_class_override=JSONRoute)
    try:
        app.router.add_api_route(path, endpoint, **options)
    except FastAPIError:
        _add_without_response_model(app, path, endpoint, options)
    return RouteTarget(app.router.routes[-1], path, method)


def _add_without_response_model(
    app: FastAPI, path: str, endpoint: Callable[..., Any], options: dict[str, Any]
) -> None:
    """Add a route whose return annotation may not be a valid Pydantic field."""
    try:
        app.router.add_api_route(path, endpoint, response_model=None, **options)
    except FastAPIError as error:
        raise HandlerNotCallableError(
            f"FastAPI cannot call {describe(endpoint)}: {error}"
        ) from error
