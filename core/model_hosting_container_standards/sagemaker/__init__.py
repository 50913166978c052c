"""Amazon SageMaker's hosting contract: decorators, and ``bootstrap(app)``."""

from ..adapters.adapter_id import inject_adapter_id
from ..adapters.registered_handlers import (
    register_load_adapter_handler,
    register_unload_adapter_handler,
)
from ..app.bootstrap import bootstrap
from ..contract.routes import RouteConfig
from ..handlers.contract_handlers import (
    custom_invocation_handler,
    custom_ping_handler,
    invoke,
    ping,
    register_invocation_handler,
    register_ping_handler,
    stream,
)
from ..handlers.decorators import override_handler, register_handler
from ..sessions.decorators import stateful_session_manager
from ..sessions.engine_sessions import (
    register_close_session_handler,
    register_create_session_handler,
)
from .config import SAGEMAKER_ENV_CONFIG, SageMakerEnvVars

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
    "stream",
]
