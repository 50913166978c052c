"""Names and rows of the environment variables that concern the FastAPI app."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ...config import Settings, Variable


class FastAPIEnvVars:
    """Names of the variables."""

    CUSTOM_FASTAPI_PING_HANDLER: Final = "CUSTOM_FASTAPI_PING_HANDLER"
    CUSTOM_FASTAPI_INVOCATION_HANDLER: Final = "CUSTOM_FASTAPI_INVOCATION_HANDLER"


FASTAPI_ENV_CONFIG: Final[Mapping[str, Variable[Any]]] = {
    row.name: row for row in (Settings.ping_handler, Settings.invocation_handler)
}

EnvVars = FastAPIEnvVars
ENV_CONFIG = FASTAPI_ENV_CONFIG
