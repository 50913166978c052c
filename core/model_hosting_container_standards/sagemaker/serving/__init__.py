"""A server that runs: what it is answering, whether its engine is well, its end."""

from .serving import Serving

__all__ = ["Serving"]
