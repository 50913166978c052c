"""The interface for inference engines, and all that their folders import.

An engine imports from here, from ``exceptions`` and ``settings``, and calls
``sagemaker.bootstrap``. Each name is imported at its first use: engines are also
patched in processes that do not serve and do not need FastAPI.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ..adapters.adapter import Adapter as Adapter
    from ..adapters.adapter import AdapterSpec as AdapterSpec
    from ..adapters.adapter import join_names as join_names
    from ..adapters.backend import AdapterBackend as AdapterBackend
    from ..adapters.backend import RegisteredAdapters as RegisteredAdapters
    from ..adapters.background_tasks import BackgroundTasks as BackgroundTasks
    from ..adapters.base_model import UNKNOWN as UNKNOWN
    from ..adapters.base_model import BaseModel as BaseModel
    from ..adapters.base_model import Checkpoint as Checkpoint
    from ..adapters.base_model import LayerCount as LayerCount
    from ..adapters.base_model import Place as Place
    from ..adapters.base_model import Widths as Widths
    from ..adapters.checkpoint import read_checkpoint as read_checkpoint
    from ..adapters.files import has_files as has_files
    from ..adapters.files import locate as locate
    from ..adapters.registry import AdapterRegistry as AdapterRegistry
    from ..adapters.table import FIRST_ID as FIRST_ID
    from ..adapters.unknown_model import base_model_answers as base_model_answers
    from ..adapters.unknown_model import unknown_model_error as unknown_model_error
    from ..adapters.weights import WEIGHTS as WEIGHTS
    from ..asgi.deferred_bootstrap import defer_bootstrap as defer_bootstrap
    from ..asgi.inference_paths import find_inference_paths as find_inference_paths
    from ..asgi.routing import find_routes as find_routes
    from ..asgi.routing import iter_routes as iter_routes
    from ..cluster.connection import Connection as Connection
    from ..cluster.coordinator import Coordinator as Coordinator
    from ..cluster.coordinator import Update as Update
    from ..cluster.journal import Journal as Journal
    from ..cluster.registry import ClusterRegistry as ClusterRegistry
    from ..customer_code.moved_names import Move as Move
    from ..customer_code.moved_names import MovedNames as MovedNames
    from ..processes.heartbeat import LAST_WORD_S as LAST_WORD_S
    from ..processes.heartbeat import HeartbeatDirectory as HeartbeatDirectory
    from ..processes.tree import descendants as descendants
    from ..processes.tree import die_at as die_at
    from ..sessions.table import SessionStorage as SessionStorage
    from ..sessions.table import SessionTable as SessionTable
    from ..sessions.table import StoredSession as StoredSession
    from .api import Engine as Engine
    from .command import EngineCommand as EngineCommand
    from .command import Parser as Parser
    from .description import EngineDescription as EngineDescription
    from .runtime import EngineRuntime as EngineRuntime

_MODULES: Final = {
    "Engine": ".api",
    "EngineDescription": ".description",
    "EngineRuntime": ".runtime",
    "EngineCommand": ".command",
    "Parser": ".command",
    "Adapter": "..adapters.adapter",
    "AdapterSpec": "..adapters.adapter",
    "join_names": "..adapters.adapter",
    "BackgroundTasks": "..adapters.background_tasks",
    "AdapterBackend": "..adapters.backend",
    "RegisteredAdapters": "..adapters.backend",
    "BaseModel": "..adapters.base_model",
    "Checkpoint": "..adapters.base_model",
    "LayerCount": "..adapters.base_model",
    "Place": "..adapters.base_model",
    "UNKNOWN": "..adapters.base_model",
    "Widths": "..adapters.base_model",
    "read_checkpoint": "..adapters.checkpoint",
    "has_files": "..adapters.files",
    "locate": "..adapters.files",
    "FIRST_ID": "..adapters.table",
    "AdapterRegistry": "..adapters.registry",
    "base_model_answers": "..adapters.unknown_model",
    "unknown_model_error": "..adapters.unknown_model",
    "WEIGHTS": "..adapters.weights",
    "defer_bootstrap": "..asgi.deferred_bootstrap",
    "find_inference_paths": "..asgi.inference_paths",
    "find_routes": "..asgi.routing",
    "iter_routes": "..asgi.routing",
    "Coordinator": "..cluster.coordinator",
    "Update": "..cluster.coordinator",
    "Journal": "..cluster.journal",
    "Connection": "..cluster.connection",
    "ClusterRegistry": "..cluster.registry",
    "Move": "..customer_code.moved_names",
    "MovedNames": "..customer_code.moved_names",
    "HeartbeatDirectory": "..processes.heartbeat",
    "LAST_WORD_S": "..processes.heartbeat",
    "descendants": "..processes.tree",
    "die_at": "..processes.tree",
    "StoredSession": "..sessions.table",
    "SessionTable": "..sessions.table",
    "SessionStorage": "..sessions.table",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name], __name__), name)
    globals()[name] = value
    return value
