"""Sessions on an app's decorated routes, beside ``/invocations``."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import NamedTuple

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from ..asgi.header_values import header_values
from ..asgi.route_patterns import RoutePattern, iter_patterns
from ..asgi.security_check import SecurityCheck, security_check
from ..observability.route_labels import local_path
from .decorators import DecoratedEndpoints, Fields
from .protected_sessions import protect
from .session_middleware import SessionMiddleware, call_in_session, with_session_id


class Place(NamedTuple):
    """A route in the order of an app's routes.

    Args:
        fields: the session fields of a decorated route; None for another one.
        security: the check of a decorated route with Security dependencies.
    """

    pattern: RoutePattern
    fields: Fields | None
    security: SecurityCheck | None = None


def find_places(app: FastAPI) -> list[Place]:
    """Return the app's routes down to the last decorated one; [] without any.

    A decorated route that an earlier one hides counts as not decorated.
    """
    patterns = [*iter_patterns(app)]
    decorated = DecoratedEndpoints([p.endpoint for p in patterns if p.endpoint])
    places: list[Place] = []
    for pattern in patterns:
        fields = decorated.fields_of(pattern.endpoint)
        hidden = fields is not None and any(p.pattern.hides(pattern) for p in places)
        if fields is None or hidden:
            places.append(Place(pattern, None))
        else:
            check = security_check(app, pattern.template, pattern.route)
            places.append(Place(pattern, fields, check))
    while places and places[-1].fields is None:
        places.pop()
    return places


def fields_at(places: Sequence[Place], path: str, method: str) -> Fields | None:
    """Return the session fields of the route that answers; None if undecorated."""
    place = _place_at(places, path, method)
    return None if place is None else place.fields


def _place_at(places: Sequence[Place], path: str, method: str) -> Place | None:
    # The first route that matches answers.
    return next((p for p in places if p.pattern.matches(path, method)), None)


class StatefulRoutes:
    """Runs the session step on requests for decorated routes.

    It wraps the router, because FastAPI checks a body before it calls a handler, and
    would refuse one that begins or closes a session.

    Args:
        app: the router, which answers all requests.
        places: see :func:`find_places`.
        session: the session step.
    """

    def __init__(
        self, app: ASGIApp, places: Sequence[Place], session: SessionMiddleware
    ) -> None:
        self.app = app
        self.places = places
        self.decorated = [place for place in places if place.fields is not None]
        self.session = session

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        place = self._place(scope) if scope["type"] == "http" else None
        if place is None or place.fields is None:
            return self.app(scope, receive, send)
        handler = with_session_id(self.app, place.fields)
        session = protect(self.session, place.security)
        headers = header_values(scope)
        return call_in_session(session, headers, handler, scope, receive, send)

    def _place(self, scope: Scope) -> Place | None:
        """Return the route that answers, unless it certainly has no sessions."""
        path, method = local_path(scope), scope["method"]
        if not any(place.pattern.matches(path, method) for place in self.decorated):
            return None
        return _place_at(self.places, path, method)
