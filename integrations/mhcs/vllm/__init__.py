"""vLLM: what the standards need to know of it, and where it is patched."""

from .engine import engine

__all__ = ["engine"]
