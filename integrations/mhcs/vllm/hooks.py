"""Import hooks that patch vLLM to call ``bootstrap(app)``.

vLLM >= 0.11.1 calls it by itself. A second call has no effect, so the same patch is
used for every release.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

import wrapt

from mhcs.guard import guarded, logger

#: Modules that define build_app: up to 0.28, and since 0.29.
BUILD_APP_MODULES: Final = (
    "vllm.entrypoints.openai.api_server",
    "vllm.entrypoints.launchers.app",
)
#: Modules that define serve_http. It gets the finished app even if api_server runs as
#: __main__, for which no import hook is called.
SERVE_HTTP_MODULES: Final = (
    "vllm.entrypoints.launcher",
    "vllm.entrypoints.launchers.launcher",
)
#: The module that starts several API servers, since 0.9.
LAUNCHER_MODULE: Final = "vllm.entrypoints.cli.serve"
RUST_FRONTEND: Final = "VLLM_USE_RUST_FRONTEND"
RUST_PROBLEM: Final = (
    f"{RUST_FRONTEND} starts vLLM's HTTP server in Rust, to which /ping, /invocations "
    "and /adapters cannot be added. Unset it to serve on SageMaker."
)
CONSEQUENCE: Final = (
    "/ping and /invocations will be missing or vLLM's own: use a release of vLLM that "
    "this version supports, or update model-hosting-container-standards."
)


def patch() -> None:
    """Register the import hooks. Does not import vLLM."""
    for name in BUILD_APP_MODULES:
        wrapt.register_post_import_hook(_patch_build_app, name)
    for name in SERVE_HTTP_MODULES:
        wrapt.register_post_import_hook(_patch_serve_http, name)
    wrapt.register_post_import_hook(_patch_launcher, LAUNCHER_MODULE)
    # By name: multiprocessing.parent_process() is None during a child's imports.
    is_main = multiprocessing.current_process().name == "MainProcess"
    if uses_rust_frontend() and is_main:
        logger.error(RUST_PROBLEM)


def uses_rust_frontend() -> bool:
    """Whether the environment asks vLLM (0.22 and newer) for its Rust server."""
    return os.environ.get(RUST_FRONTEND, "0").strip() not in ("", "0")


def _patch_build_app(module: ModuleType) -> None:
    with guarded(f"Patching {module.__name__}"):
        _wrap(module, "build_app", _bootstrap_result)


def _patch_serve_http(module: ModuleType) -> None:
    with guarded(f"Patching {module.__name__}"):
        _wrap(module, "serve_http", _bootstrap_argument)


def _patch_launcher(module: ModuleType) -> None:
    with guarded(f"Patching {module.__name__}"):
        from .launcher import wait_gracefully, with_heartbeats

        wrappers = {
            "run_multi_api_server": with_heartbeats,
            "wait_for_completion_or_failure": wait_gracefully,
        }
        # Releases before 0.9 have one API server.
        if wrappers.keys() <= vars(module).keys():
            for name, wrapper in wrappers.items():
                wrapt.wrap_function_wrapper(module, name, wrapper)


def _wrap(module: ModuleType, name: str, wrapper: Callable[..., Any]) -> None:
    function = vars(module).get(name)
    if function is None:
        raise LookupError(f"{module.__name__} has no {name}. {CONSEQUENCE}")
    # A function is patched only in the module that defines it, and only once.
    if function.__module__ == module.__name__ and not isinstance(
        function, wrapt.FunctionWrapper
    ):
        wrapt.wrap_function_wrapper(module, name, wrapper)


def _bootstrap_result(
    wrapped: Callable[..., Any], _instance: Any, args: Any, kwargs: Any
) -> Any:
    app = wrapped(*args, **kwargs)
    # As vLLM >= 0.11.1 does by itself: args has the port.
    if args and not hasattr(app.state, "args"):
        app.state.args = args[0]
    return _bootstrap(app)


def _bootstrap_argument(
    wrapped: Callable[..., Any], _instance: Any, args: Any, kwargs: Any
) -> Any:
    _bootstrap(args[0] if args else kwargs["app"])
    return wrapped(*args, **kwargs)


def _bootstrap(app: Any) -> Any:
    """Call ``bootstrap``, unguarded: an unusable customer handler stops the start."""
    # Imported late: workers register the hooks too, but do not need FastAPI.
    from model_hosting_container_standards.sagemaker import bootstrap

    return bootstrap(app)
