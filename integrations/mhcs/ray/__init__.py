"""Ray Serve LLM. Importing this does not import Ray.

A Serve configuration names the classes below as strings, such as
``mhcs.ray:SageMakerIngress``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from .engine import engine

if TYPE_CHECKING:
    from .ingress import SageMakerIngress
    from .proxy import proxy_middleware
    from .server import SageMakerLLMServer

__all__ = ["SageMakerIngress", "SageMakerLLMServer", "engine", "proxy_middleware"]

_MODULES: Final = {
    "SageMakerIngress": ".ingress",
    "SageMakerLLMServer": ".server",
    "proxy_middleware": ".proxy",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name], __name__), name)
