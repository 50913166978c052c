"""TensorRT-LLM: where it is patched, and what the core needs to know of it."""

from .engine import engine

__all__ = ["engine"]
