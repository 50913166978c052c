"""What the routes of an app match, with those of included routers and mounted apps."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import msgspec
from fastapi import FastAPI
from starlette.routing import BaseRoute, Mount, WebSocketRoute, compile_path

from .routing import flatten_routes


class RoutePattern(msgspec.Struct, frozen=True):
    """The HTTP requests that a route matches.

    Args:
        methods: None for all.
        endpoint: None for a mounted app.
        template: the path with the names of its parameters.
        route: the route, or FastAPI's context of it.
    """

    path: re.Pattern[str]
    methods: Collection[str] | None
    endpoint: Callable[..., Any] | None
    template: str
    route: Any

    def matches(self, path: str, method: str) -> bool:
        """Return whether it matches a path, relative to where the app is mounted."""
        if self.methods is not None and method not in self.methods:
            return False
        return self.path.fullmatch(path) is not None

    def hides(self, later: RoutePattern) -> bool:
        """Return whether it has the path and all methods of a later route."""
        if self.path.pattern != later.path.pattern:
            return False
        if self.methods is None:
            return True
        return later.methods is not None and {*later.methods} <= {*self.methods}


def iter_patterns(app: FastAPI) -> Iterator[RoutePattern]:
    """Yield the patterns of all HTTP routes in their order; a mount follows its routes.

    Routes of a single host are left out.
    """
    yield from _patterns(app.router.routes, "", "")


def _patterns(
    routes: Iterable[BaseRoute], prefix: str, mounted_at: str
) -> Iterator[RoutePattern]:
    for route in flatten_routes(routes):
        # FastAPI >= 0.137 yields a context of the route.
        original = getattr(route, "original_route", route)
        path = getattr(route, "path", None)
        if path is None or isinstance(original, WebSocketRoute):
            continue
        if isinstance(original, Mount):
            inner = prefix + _path_regex(path)
            yield from _patterns(original.routes, inner, mounted_at + path)
            path += "/{path:path}"
        yield RoutePattern(
            re.compile(prefix + _path_regex(path)),
            getattr(route, "methods", None),
            getattr(route, "endpoint", None),
            mounted_at + path,
            route,
        )


def _path_regex(path: str) -> str:
    """Return a path's regular expression without names, which have to be unique."""
    pattern = compile_path(path)[0].pattern.removeprefix("^").removesuffix("$")
    return re.sub(r"\(\?P<\w+>", "(?:", pattern)
