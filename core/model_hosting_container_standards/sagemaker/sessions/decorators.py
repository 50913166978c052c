"""The decorator by which an engine says that its handler knows sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

H = TypeVar("H", bound=Callable[..., Any])


def stateful_session_manager(
    engine_request_session_id_path: str | None = None,
) -> Callable[[H], H]:
    """Let sessions reach the decorated handler.

    The protocol itself is answered in front of whichever handler answers
    ``/invocations``, decorated or not. ``engine_request_session_id_path`` is the body
    field that receives the session id; with sessions off there is none to write.

    Raises:
        ValueError: the path is empty.
    """
    if engine_request_session_id_path == "":
        raise ValueError("An empty path names no body field: write 'session_id', say.")

    def decorate(handler: H) -> H:
        return handler

    return decorate
