"""Where ``LoraConfig`` is up to 0.21; later it is importable from here as well."""

from .lora_helper import LoraConfig

__all__ = ["LoraConfig"]
