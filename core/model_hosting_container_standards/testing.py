"""Resets the process-wide state of this package, for tests."""

from __future__ import annotations

from .customer_code.file_loader import reset_loaded_files
from .customer_code.moved_names import reset_moved_names
from .handlers.registry import handler_registry
from .logging_config import reset_logging
from .middleware.registry import middleware_registry
from .sessions.manager import reset_sessions


def reset() -> None:
    """Clear all registrations, loaded files, moved names, sessions and logging."""
    handler_registry.clear()
    middleware_registry.clear()
    reset_sessions()
    reset_loaded_files()
    reset_moved_names()
    reset_logging()
