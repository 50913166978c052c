"""A path of 0.1.x: sessions are in :mod:`...sessions.manager`."""

from ...sessions.manager import (
    Session,
    SessionManager,
    get_session_manager,
    init_session_manager_from_env,
)

__all__ = [
    "Session",
    "SessionManager",
    "get_session_manager",
    "init_session_manager_from_env",
]
