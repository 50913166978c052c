"""SGLang, the engine. Importing this does not import it."""

from .engine import engine

__all__ = ["engine"]
