"""Names and rows of the environment variables that concern SageMaker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..settings import Settings, Variable


class SageMakerEnvVars:
    """Names of the variables."""

    SAGEMAKER_MODEL_PATH: Final = "SAGEMAKER_MODEL_PATH"
    CUSTOM_SCRIPT_FILENAME: Final = "CUSTOM_SCRIPT_FILENAME"
    SAGEMAKER_ENABLE_STATEFUL_SESSIONS: Final = "SAGEMAKER_ENABLE_STATEFUL_SESSIONS"
    SAGEMAKER_SESSIONS_EXPIRATION: Final = "SAGEMAKER_SESSIONS_EXPIRATION"
    SAGEMAKER_SESSIONS_PATH: Final = "SAGEMAKER_SESSIONS_PATH"
    SAGEMAKER_TRANSFORMS_CREATE_SESSION_DEFAULTS: Final = (
        "SAGEMAKER_TRANSFORMS_CREATE_SESSION_DEFAULTS"
    )
    SAGEMAKER_TRANSFORMS_CLOSE_SESSION_DEFAULTS: Final = (
        "SAGEMAKER_TRANSFORMS_CLOSE_SESSION_DEFAULTS"
    )
    SAGEMAKER_ADAPTERS_PATH: Final = "SAGEMAKER_ADAPTERS_PATH"
    SAGEMAKER_ADAPTERS_ROOT: Final = "SAGEMAKER_ADAPTERS_ROOT"
    SAGEMAKER_TRANSFORMS_LOAD_ADAPTER_DEFAULTS: Final = (
        "SAGEMAKER_TRANSFORMS_LOAD_ADAPTER_DEFAULTS"
    )
    SAGEMAKER_TRANSFORMS_UNLOAD_ADAPTER_DEFAULTS: Final = (
        "SAGEMAKER_TRANSFORMS_UNLOAD_ADAPTER_DEFAULTS"
    )
    SAGEMAKER_CONTAINER_LOG_LEVEL: Final = "SAGEMAKER_CONTAINER_LOG_LEVEL"


SAGEMAKER_ENV_CONFIG: Final[Mapping[str, Variable[Any]]] = {
    row.name: row
    for row in (
        Settings.model_path,
        Settings.script_filename,
        Settings.sessions_enabled,
        Settings.sessions_expiration,
        Settings.sessions_path,
        Settings.create_session_defaults,
        Settings.close_session_defaults,
        Settings.adapters_path,
        Settings.adapters_root,
        Settings.load_adapter_defaults,
        Settings.unload_adapter_defaults,
        Settings.log_level,
    )
}
