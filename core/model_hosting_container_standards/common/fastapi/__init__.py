"""FastAPI: environment names, request bodies, endpoints and routing."""

from .config import ENV_CONFIG, FASTAPI_ENV_CONFIG, EnvVars, FastAPIEnvVars

__all__ = ["ENV_CONFIG", "FASTAPI_ENV_CONFIG", "EnvVars", "FastAPIEnvVars"]
