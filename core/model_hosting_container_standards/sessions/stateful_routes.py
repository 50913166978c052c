"""Sessions on an app's decorated routes, beside ``/invocations``."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import NamedTuple

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from ..asgi.route_patterns import RoutePattern, iter_patterns
from ..observability.route_labels import local_path
from .decorators import DecoratedEndpoints, Fields
from .session_middleware import SessionMiddleware, call_in_session, with_session_id


class Place(NamedTuple):
    """A route in the order of an app's routes.

    Args:
        fields: the session fields of a decorated route; None for another one.
    """

    pattern: RoutePattern
    fields: Fields | None


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
        places.append(Place(pattern, None if hidden else fields))
    while places and places[-1].fields is None:
        places.pop()
    return places


def fields_at(places: Sequence[Place], path: str, method: str) -> Fields | None:
    """Return the session fields of the route that answers; None if undecorated."""
    # The first route that matches answers.
    matching = (p.fields for p in places if p.pattern.matches(path, method))
    return next(matching, None)


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
        if scope["type"] == "http" and (fields := self._fields(scope)) is not None:
            handler = with_session_id(self.app, fields)
            headers: dict[bytes, bytes] = dict(scope["headers"])
            return call_in_session(self.session, headers, handler, scope, receive, send)
        return self.app(scope, receive, send)

    def _fields(self, scope: Scope) -> Fields | None:
        """Return the fields of the route that answers; None if it has no sessions."""
        path, method = local_path(scope), scope["method"]
        if not any(place.pattern.matches(path, method) for place in self.decorated):
            return None
        return fields_at(self.places, path, method)
