"""Amazon SageMaker's hosting contract: decorators, and ``bootstrap(app)``."""

from ..common.handler.decorators import override_handler, register_handler
from .bootstrap import bootstrap
from .config import SAGEMAKER_ENV_CONFIG, RouteConfig, SageMakerEnvVars
from .handlers import (
    custom_invocation_handler,
    custom_ping_handler,
    invoke,
    ping,
    register_invocation_handler,
    register_ping_handler,
)
from .lora import (
    inject_adapter_id,
    register_load_adapter_handler,
    register_unload_adapter_handler,
)
from .sessions import (
    register_close_session_handler,
    register_create_session_handler,
    stateful_session_manager,
)

__all__ = [
    "SAGEMAKER_ENV_CONFIG",
    "RouteConfig",
    "SageMakerEnvVars",
    "bootstrap",
    "custom_invocation_handler",
    "custom_ping_handler",
    "inject_adapter_id",
    "invoke",
    "override_handler",
    "ping",
    "register_close_session_handler",
    "register_create_session_handler",
    "register_handler",
    "register_invocation_handler",
    "register_load_adapter_handler",
    "register_ping_handler",
    "register_unload_adapter_handler",
    "stateful_session_manager",
]
