"""Routes of a FastAPI app, found and answered alike on every FastAPI version.

FastAPI >= 0.137 keeps an included router as one nested entry of ``app.router.routes``;
before, its routes were copied flat. Only what both have is used here: an entry's
``matches`` and ``handle``, and FastAPI's own flattening where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

import fastapi.routing
from fastapi import FastAPI, HTTPException, params
from fastapi.exceptions import FastAPIError
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Receive, Scope, Send

from ..exceptions import HandlerNotCallableError
from .body import JSON_BODY, JSONRequest, declare_json
from .endpoint import describe, unwrap


class JSONRoute(APIRoute):
    """A FastAPI route whose request decodes JSON faster, for FastAPI itself too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        body = getattr(self.body_field, "field_info", None)
        takes_json = body is not None and not isinstance(body, params.Form)

        async def handle_json(request: Request) -> Response:
            if takes_json and JSON_BODY not in request.scope:
                try:
                    found = await declare_json(request.scope, request.receive)
                except ClientDisconnect:
                    # As FastAPI has it, which reads the body no sooner.
                    raise HTTPException(400, "The body is incomplete.") from None
                request = Request(*found)
            return await handle(JSONRequest.of(request))

        return handle_json


class RouteTarget:
    """One route of an app, as an ASGI app.

    Whatever path and method a request came with, the route sees its own.
    """

    def __init__(self, entry: BaseRoute, path: str, method: str) -> None:
        self.entry = entry
        self.path = path
        self.method = method
        self.child_scope = self._constant_child_scope()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("root_path", "") + self.path
        if scope["path"] not in (path, self.path):
            scope = {**scope, "path": path, "raw_path": path.encode()}
        if scope["method"] != self.method:
            scope = {**scope, "method": self.method}
        child_scope = self.child_scope
        if child_scope is None:
            _, child_scope = self.entry.matches(scope)
        scope.update(child_scope)
        await self.entry.handle(scope, receive, send)

    def _constant_child_scope(self) -> Scope | None:
        """Return what a match adds to every scope alike; None if it depends on it."""
        match, child_scope = self.entry.matches(request_scope(self.path, self.method))
        constant = child_scope.keys() <= {"endpoint", "path_params", "route"}
        if match is not Match.FULL or child_scope.get("path_params") or not constant:
            return None
        return child_scope


def find_target(app: FastAPI, path: str, *methods: str) -> RouteTarget | None:
    """Return the route that answers ``path``, for the first method that has one."""
    for method in methods:
        scope = request_scope(path, method)
        for entry in app.router.routes:
            # A mounted app takes every path below its own, whether it has it or not.
            if isinstance(entry, Mount):
                continue
            if entry.matches(dict(scope))[0] is Match.FULL:
                return RouteTarget(entry, path, method)
    return None


def request_scope(path: str, method: str) -> Scope:
    """Return the scope of a request, as much of it as routes look at."""
    return {
        "type": "http",
        "path": path,
        "root_path": "",
        "method": method,
        "headers": [],
        "query_string": b"",
    }


def iter_routes(app: FastAPI) -> Iterator[Any]:
    """Yield the app's routes, those of included routers too.

    FastAPI's have ``path``, ``methods``, ``endpoint`` and ``dependencies``; on mounts
    and the like each of them may be missing or None.
    """
    flatten = getattr(fastapi.routing, "iter_route_contexts", iter)
    yield from flatten(app.router.routes)


def find_routes(app: FastAPI, path: str, methods: Iterable[str]) -> list[Any]:
    """Return the app's FastAPI routes of exactly this path, for any of the methods."""
    return [
        route
        for route in iter_routes(app)
        if getattr(route, "path", None) == path
        and hasattr(route, "dependencies")
        and not route.methods.isdisjoint(methods)
    ]


def has_route(routes: Iterable[Any], function: Callable[..., Any]) -> bool:
    """Whether one of the routes is answered by ``function``, decorated or not."""
    return any(
        unwrap(endpoint) == unwrap(function)  # a method is a new object each time
        for route in routes
        if (endpoint := getattr(route, "endpoint", None)) is not None
    )


def security_of(app: FastAPI, routes: Iterable[Any]) -> list[params.Depends]:
    """Return the ``Security`` dependencies of the routes."""
    return split_dependencies(app, routes)[0]


def split_dependencies(
    app: FastAPI, routes: Iterable[Any]
) -> tuple[list[params.Depends], list[params.Depends]]:
    """Return the routes' ``Security`` dependencies, once each, and the others.

    Those of the app itself are left out: every route that is added has them.
    """
    security: list[params.Depends] = []
    others: list[params.Depends] = []
    for dependency in (d for route in routes for d in route.dependencies):
        kept = security if isinstance(dependency, params.Security) else others
        if dependency not in (*kept, *app.router.dependencies):
            kept.append(dependency)
    return security, others


def add_route(
    app: FastAPI, path: str, endpoint: Callable[..., Any], method: str, **options: Any
) -> RouteTarget:
    """Add a FastAPI route behind all others, and return it.

    ``options`` are those of ``APIRouter.add_api_route``.

    Raises:
        HandlerNotCallableError: FastAPI cannot make sense of the signature.
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
    """Try again: the return annotation may be what is no Pydantic field."""
    try:
        app.router.add_api_route(path, endpoint, response_model=None, **options)
    except FastAPIError as error:
        raise HandlerNotCallableError(
            f"FastAPI cannot call {describe(endpoint)}: {error}"
        ) from error
