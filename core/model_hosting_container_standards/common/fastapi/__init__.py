"""FastAPI: environment names, request bodies, endpoints and routing."""

from .config import ENV_CONFIG, FASTAPI_ENV_CONFIG, EnvVars, FastAPIEnvVars
from .middleware import (
    custom_middleware,
    input_formatter,
    middleware_registry,
    output_formatter,
)

__all__ = [
    "ENV_CONFIG",
    "FASTAPI_ENV_CONFIG",
    "EnvVars",
    "FastAPIEnvVars",
    "custom_middleware",
    "input_formatter",
    "middleware_registry",
    "output_formatter",
]
