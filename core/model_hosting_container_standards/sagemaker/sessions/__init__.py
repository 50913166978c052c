"""Sticky sessions: the protocol, and the decorators of engines and handlers."""

from .decorators import stateful_session_manager
from .handlers import register_close_session_handler, register_create_session_handler

__all__ = [
    "register_close_session_handler",
    "register_create_session_handler",
    "stateful_session_manager",
]
