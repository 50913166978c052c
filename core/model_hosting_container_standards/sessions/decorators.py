"""The decorator that passes session ids to an engine's handler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from ..asgi.body_field import BodyField
from ..handlers.metadata import get_metadata, set_metadata

H = TypeVar("H", bound=Callable[..., Any])

_ATTRIBUTE: Final = "__session_field__"


def stateful_session_manager(
    engine_request_session_id_path: str | None = None,
) -> Callable[[H], H]:
    """Write the session's id into the body of the decorated handler's requests.

    ``engine_request_session_id_path`` is the dotted path of the body field for the id;
    None: no field. The session protocol itself works with any handler of
    ``/invocations``, decorated or not.

    Raises:
        ValueError: the path is empty or not a string.
    """
    if engine_request_session_id_path is None:
        return lambda handler: handler
    field = session_field(engine_request_session_id_path)
    return lambda handler: set_metadata(handler, _ATTRIBUTE, field)


def session_field(path: str) -> BodyField:
    """Return the field at a dotted path, which may begin with ``body.``.

    Raises:
        ValueError: the path is empty or not a string.
    """
    if isinstance(path, str):
        path = path.removeprefix("body.")
    return BodyField(path, owner="session")


def session_field_of(handler: Callable[..., Any] | None) -> BodyField | None:
    """Return the field that :func:`stateful_session_manager` declared on a handler."""
    field: BodyField | None = get_metadata(handler, _ATTRIBUTE)
    return field
