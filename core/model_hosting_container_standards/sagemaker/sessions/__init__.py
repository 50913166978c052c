"""Sticky sessions: the protocol, and the decorators of engines and handlers."""

from ...sessions.decorators import stateful_session_manager
from ...sessions.engine_sessions import (
    register_close_session_handler,
    register_create_session_handler,
)

__all__ = [
    "register_close_session_handler",
    "register_create_session_handler",
    "stateful_session_manager",
]
