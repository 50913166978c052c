"""LoRA adapters: the header that chooses one, and an engine's own load handlers."""

from ...adapters.adapter_id import inject_adapter_id
from ...adapters.registered_handlers import (
    register_load_adapter_handler,
    register_unload_adapter_handler,
)

__all__ = [
    "inject_adapter_id",
    "register_load_adapter_handler",
    "register_unload_adapter_handler",
]
