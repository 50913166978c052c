"""For tests: every process-wide registry back to its import state."""

from __future__ import annotations

from .common.custom_code_ref_resolver.file_loader import reset_loaded_files
from .common.custom_code_ref_resolver.moved_names import reset_moved_names
from .common.fastapi.middleware.registry import middleware_registry
from .common.handler import handler_registry
from .logging_config import reset_logging
from .sagemaker.lora.handlers import adapter_registry
from .sagemaker.sessions.handlers import session_registry
from .sagemaker.sessions.manager import reset_sessions


def reset() -> None:
    """Forget what was registered and loaded, moved names and logging set-up."""
    handler_registry.clear()
    adapter_registry.clear()
    session_registry.clear()
    middleware_registry.clear()
    reset_sessions()
    reset_loaded_files()
    reset_moved_names()
    reset_logging()
