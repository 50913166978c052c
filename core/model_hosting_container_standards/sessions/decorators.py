"""The decorator by which an engine says that its handler knows sessions."""

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
    """Let sessions reach the decorated handler.

    The protocol itself is answered in front of whichever handler answers
    ``/invocations``, decorated or not. ``engine_request_session_id_path`` is the dotted
    path of the body field that receives the session's id; None: the handler wants none.

    Raises:
        ValueError: the path is empty, or no string.
    """
    if engine_request_session_id_path is None:
        return lambda handler: handler
    field = session_field(engine_request_session_id_path)
    return lambda handler: set_metadata(handler, _ATTRIBUTE, field)


def session_field(path: str) -> BodyField:
    """Return the field of an engine's request, ``body.`` in front of it or not.

    Raises:
        ValueError: it is no dotted path.
    """
    if isinstance(path, str):
        path = path.removeprefix("body.")
    return BodyField(path, owner="session")


def session_field_of(handler: Callable[..., Any] | None) -> BodyField | None:
    """Return what :func:`stateful_session_manager` was told for this handler."""
    field: BodyField | None = get_metadata(handler, _ATTRIBUTE)
    return field
