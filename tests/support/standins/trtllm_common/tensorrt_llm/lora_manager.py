"""The module of ``LoraConfig`` up to 0.21; later releases re-export it."""

from .lora_helper import LoraConfig

__all__ = ["LoraConfig"]
