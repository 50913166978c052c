"""Routes of a FastAPI app, found and answered alike on every FastAPI version.

FastAPI >= 0.137 keeps an included router as one nested entry of ``app.router.routes``;
before, its routes were copied flat. Only what both have is used here: an entry's
``matches`` and ``handle``, and FastAPI's own flattening where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fastapi.routing
from fastapi import FastAPI, params
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send


class Target:
    """One route of an app, as an ASGI app.

    Whatever path and method a request came with, the route sees its own.
    """

    def __init__(self, entry: BaseRoute, path: str, method: str) -> None:
        self.entry = entry
        self.path = path
        self.method = method

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("root_path", "") + self.path
        if scope["path"] not in (path, self.path):
            scope = {**scope, "path": path, "raw_path": path.encode()}
        if scope["method"] != self.method:
            scope = {**scope, "method": self.method}
        _, child_scope = self.entry.matches(scope)
        scope.update(child_scope)
        await self.entry.handle(scope, receive, send)


def find_target(app: FastAPI, path: str, *methods: str) -> Target | None:
    """Return the route that answers ``path``, for the first method that has one."""
    for method in methods:
        scope = {
            "type": "http",
            "path": path,
            "root_path": "",
            "method": method,
            "headers": [],
            "query_string": b"",
            "app": app,
        }
        for entry in app.router.routes:
            if entry.matches(dict(scope))[0] is Match.FULL:
                return Target(entry, path, method)
    return None


def iter_routes(app: FastAPI) -> Iterator[Any]:
    """Yield the app's routes, those of included routers too.

    Each has ``path``, ``methods`` and ``endpoint``, and ``dependencies`` where it is a
    FastAPI route; each of the three may be missing or None on mounts and the like.
    """
    flatten = getattr(fastapi.routing, "iter_route_contexts", iter)
    yield from flatten(app.router.routes)


def find_routes(app: FastAPI, path: str) -> list[Any]:
    """Return the app's FastAPI routes of exactly this path."""
    return [
        route
        for route in iter_routes(app)
        if getattr(route, "path", None) == path and hasattr(route, "dependencies")
    ]


def split_dependencies(
    routes: list[Any],
) -> tuple[list[params.Depends], list[params.Depends]]:
    """Return the route-level ``Security`` dependencies, once each, and the others."""
    security: list[params.Depends] = []
    others: list[params.Depends] = []
    for dependency in (d for route in routes for d in route.dependencies):
        kept = security if isinstance(dependency, params.Security) else others
        if dependency not in kept:
            kept.append(dependency)
    return security, others
