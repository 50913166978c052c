"""A name of 0.1.x: vLLM's tests clear it, to forget what decorators registered."""

from __future__ import annotations

from typing import Final

from .....middleware.registry import middleware_registry

decorator_loader: Final = middleware_registry
