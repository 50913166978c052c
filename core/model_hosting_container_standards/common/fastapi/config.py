"""Names and rows of the environment variables that concern the FastAPI app."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ...settings import Settings, Variable


class FastAPIEnvVars:
    """Names of the variables."""

    CUSTOM_FASTAPI_PING_HANDLER: Final = "CUSTOM_FASTAPI_PING_HANDLER"
    CUSTOM_FASTAPI_INVOCATION_HANDLER: Final = "CUSTOM_FASTAPI_INVOCATION_HANDLER"
    CUSTOM_FASTAPI_MIDDLEWARE_THROTTLE: Final = "CUSTOM_FASTAPI_MIDDLEWARE_THROTTLE"
    CUSTOM_FASTAPI_MIDDLEWARE_PRE_POST_PROCESS: Final = (
        "CUSTOM_FASTAPI_MIDDLEWARE_PRE_POST_PROCESS"
    )
    CUSTOM_PRE_PROCESS: Final = "CUSTOM_PRE_PROCESS"
    CUSTOM_POST_PROCESS: Final = "CUSTOM_POST_PROCESS"


FASTAPI_ENV_CONFIG: Final[Mapping[str, Variable[Any]]] = {
    row.name: row
    for row in (
        Settings.ping_handler,
        Settings.invocation_handler,
        Settings.throttle,
        Settings.pre_post_process,
        Settings.pre_process,
        Settings.post_process,
    )
}

EnvVars = FastAPIEnvVars
ENV_CONFIG = FASTAPI_ENV_CONFIG
