"""The decorator that gives a route sessions, and passes their ids to its handler."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar

from ..asgi.body_field import BodyField
from ..handlers.metadata import get_metadata, set_metadata
from ..handlers.registry import Registrations, handler_registry

H = TypeVar("H", bound=Callable[..., Any])
Endpoint = Callable[..., Any]
Fields = tuple[BodyField, ...]

_ATTRIBUTE: Final = "__session_fields__"
_DECORATED: Final = "decorated"


def stateful_session_manager(
    engine_request_session_id_path: str | None = None,
) -> Callable[[H], H]:
    """Give the decorated handler's routes sessions.

    ``engine_request_session_id_path`` is the dotted path of the body field that the
    session's id is written into; None: no field. Takes effect once the app is
    bootstrapped. ``/invocations`` has sessions with any handler, decorated or not.

    Raises:
        ValueError: the path is empty or not a string.
    """
    path = engine_request_session_id_path
    fields = () if path is None else (session_field(path),)

    def decorate(handler: H) -> H:
        inner = session_fields_of(handler) or ()
        endpoint = set_metadata(handler, _ATTRIBUTE, (*inner, *fields))
        decorated_registry.add(_DECORATED, (handler, endpoint))
        return endpoint

    return decorate


def session_field(path: str) -> BodyField:
    """Return the field at a dotted path, which may begin with ``body.``.

    Raises:
        ValueError: the path is empty or not a string.
    """
    if isinstance(path, str):
        path = path.removeprefix("body.")
    return BodyField(path, owner="session")


def session_fields_of(handler: Endpoint | None) -> Fields | None:
    """Return the fields of a decorated handler; None if it is not decorated."""
    fields: Fields | None = get_metadata(handler, _ATTRIBUTE)
    return fields


class DecoratedEndpoints:
    """Finds the session fields of an app's endpoints.

    A route has sessions too if the decorator stands above the one that made the route,
    which then has the handler from before the decoration.

    Args:
        endpoints: the endpoints of all routes of the app.
    """

    def __init__(self, endpoints: Collection[Endpoint]) -> None:
        self._above: list[tuple[Endpoint, Fields | None]] = []
        for handler, decorated in decorated_registry.newest_first(_DECORATED):
            if decorated not in endpoints:
                # By a further decorator, which is newer, it may have more fields.
                self._above.append((handler, self.fields_of(decorated)))

    def fields_of(self, endpoint: Endpoint | None) -> Fields | None:
        """Return the session fields of an endpoint; None if it is not decorated."""
        above = (fields for handler, fields in self._above if handler == endpoint)
        return next(above, session_fields_of(endpoint))


decorated_registry: Final[Registrations[tuple[Endpoint, Endpoint]]] = (
    handler_registry.new_registrations()
)
