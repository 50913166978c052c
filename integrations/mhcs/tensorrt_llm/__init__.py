"""TensorRT-LLM: its description for the core, its patches and its runtime."""

from .engine import engine

__all__ = ["engine"]
