"""For tests: every process-wide registry back to its import state."""

from __future__ import annotations

from .common.custom_code_ref_resolver.file_loader import reset_loaded_files
from .common.custom_code_ref_resolver.moved_names import reset_moved_names
from .common.handler import handler_registry
from .logging_config import reset_logging
from .sagemaker.lora.handlers import adapter_registry


def reset() -> None:
    """Forget registered handlers, loaded scripts, moved names and logging set-up."""
    handler_registry.reset()
    adapter_registry.clear()
    reset_loaded_files()
    reset_moved_names()
    reset_logging()
