"""Where TensorRT-LLM is patched: its server calls ``bootstrap`` once it has its routes.

They are there when it is made. Upstream is about to make it first, for it to listen
while the model is loaded, and the routes once the app runs.

The modules are imported by MPI workers and postprocessing workers too, which run the
console script again: there, wrapping the classes is all that happens.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

import wrapt

from mhcs.guard import guarded, logger

from .requests import answer_by_adapter, answering_methods

HEALTH_PATH: Final = "/health"
REQUEST_MODULE: Final = "tensorrt_llm.executor.request"
SERVER_MODULE: Final = "tensorrt_llm.serve.openai_server"
DISAGGREGATED_MODULE: Final = "tensorrt_llm.serve.openai_disagg_server"
COMMAND_MODULE: Final = "tensorrt_llm.commands.serve"
#: Whether routes are being registered.
_REGISTERS: Final = "tensorrt_llm_registers"
CONSEQUENCE: Final = (
    "/ping, /invocations and /adapters will be missing: use a release of TensorRT-LLM "
    "that this version supports, or update model-hosting-container-standards."
)
#: What a release lacks that has another ``LoRARequest``.
PATH_CONSEQUENCE: Final = (
    "Clients of chat and completions may learn which paths exist: use a release of "
    "TensorRT-LLM that this version supports, or update "
    "model-hosting-container-standards."
)
DISAGGREGATED_PROBLEM: Final = (
    "`trtllm-serve disaggregated` has a server of its own, which gets no /ping, "
    "/invocations and /adapters: use `trtllm-serve MODEL` to serve on SageMaker."
)
GRPC_PROBLEM: Final = (
    "`trtllm-serve --grpc` has no HTTP server that could get /ping, /invocations and "
    "/adapters: leave --grpc out to serve on SageMaker."
)


def patch() -> None:
    """Register the hooks. TensorRT-LLM is not imported."""
    wrapt.register_post_import_hook(_patch_lora_request, REQUEST_MODULE)
    wrapt.register_post_import_hook(_patch_server, SERVER_MODULE)
    wrapt.register_post_import_hook(_report_disaggregated, DISAGGREGATED_MODULE)
    wrapt.register_post_import_hook(_report_grpc, COMMAND_MODULE)


def _patch_server(module: ModuleType) -> None:
    with guarded(f"Patching {module.__name__}"):
        if "OpenAIServer" not in vars(module):
            raise LookupError(f"{module.__name__} has no OpenAIServer. {CONSEQUENCE}")
        server = module.OpenAIServer
        _wrap(server, "__init__", _bootstrap_server)
        for name in _registering_methods(server):
            _wrap(server, name, _bootstrap_late)
        for name, _ in [*answering_methods(server)]:
            _wrap(server, name, answer_by_adapter)


def _patch_lora_request(module: ModuleType) -> None:
    """Let the path of a request be looked at by who makes one, and not when it comes.

    Whoever sends one is refused, and is not to learn by how which paths there are. What
    a request brings is not made by calling the class, as anything else is.
    """
    with guarded(f"Patching {module.__name__}", PATH_CONSEQUENCE):
        kind: Any = vars(module).get("LoRARequest")
        # None up to 0.21 reads one from a request; since 1.4 none looks at the path.
        check = vars(kind).get("__post_init__") if kind is not None else None
        if check is not None:
            kind.__post_init__ = _pass_on
            _wrap(kind, "__init__", _followed_by(check))


def _followed_by(check: Callable[[Any], None]) -> Callable[..., Any]:
    def make(
        wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any
    ) -> None:
        wrapped(*args, **kwargs)
        check(instance)

    return make


def _pass_on(_instance: Any) -> None:
    """Find nothing wrong."""


def _report_disaggregated(module: ModuleType) -> None:
    with guarded(f"Patching {module.__name__}", DISAGGREGATED_PROBLEM):
        server = vars(module).get("OpenAIDisaggServer")
        _wrap(server, "__init__", _reporting(DISAGGREGATED_PROBLEM))


def _report_grpc(module: ModuleType) -> None:
    with guarded(f"Patching {module.__name__}", GRPC_PROBLEM):
        _wrap(module, "launch_grpc_server", _reporting(GRPC_PROBLEM))


def _wrap(holder: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Wrap what is there and not wrapped yet; other releases may not have it.

    Args:
        holder: None where the release does not even have that.
    """
    function = holder and inspect.getattr_static(holder, name, None)
    if function is not None and not isinstance(function, wrapt.FunctionWrapper):
        wrapt.wrap_function_wrapper(holder, name, wrapper)


def _reporting(problem: str) -> Callable[..., Any]:
    def report(
        wrapped: Callable[..., Any], _instance: Any, args: Any, kwargs: Any
    ) -> Any:
        logger.error(problem)
        return wrapped(*args, **kwargs)

    return report


def _bootstrap_server(
    wrapped: Callable[..., Any], server: Any, args: Any, kwargs: Any
) -> None:
    # Every release has other arguments. None of them is looked at.
    wrapped(*args, **kwargs)
    app = getattr(server, "app", None)
    if app is None:
        with guarded("Giving TensorRT-LLM's server its routes"):
            raise LookupError(f"The server has no app. {CONSEQUENCE}")
        return
    # As vLLM does for its own: customers' handlers get at the engine by way of it.
    app.state.openai_server = server
    if _has_routes(app):
        _bootstrap(app)
    elif _registering_methods(type(server)):
        # Imported late: workers register the hooks too, and need no FastAPI.
        from model_hosting_container_standards.asgi.deferred_bootstrap import (
            defer_bootstrap,
        )

        defer_bootstrap(app)
    else:
        with guarded("Giving TensorRT-LLM's server its routes"):
            raise LookupError(f"The server has no {HEALTH_PATH}. {CONSEQUENCE}")


def _bootstrap_late(
    wrapped: Callable[..., Any], server: Any, args: Any, kwargs: Any
) -> Any:
    """Bootstrap a server that registers its routes when it is there, and runs already.

    A method may call others of them: the first that was called is done last.
    """
    state = getattr(getattr(server, "app", None), "state", None)
    if not hasattr(state, "openai_server") or hasattr(state, _REGISTERS):
        return wrapped(*args, **kwargs)
    setattr(state, _REGISTERS, True)
    try:
        result = wrapped(*args, **kwargs)
    finally:
        delattr(state, _REGISTERS)
    if _has_routes(server.app):
        _bootstrap(server.app)
    return result


def _registering_methods(server: type) -> list[str]:
    return [name for name in dir(server) if "register" in name and "routes" in name]


def _has_routes(app: Any) -> bool:
    return any(getattr(route, "path", None) == HEALTH_PATH for route in app.routes)


def _bootstrap(app: Any) -> None:
    # Imported late, as above. Not guarded: a customer's handler that cannot be used
    # must stop the start.
    from model_hosting_container_standards.sagemaker import bootstrap

    bootstrap(app)
