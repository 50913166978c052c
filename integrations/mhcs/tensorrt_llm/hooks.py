"""Import hooks that patch TensorRT-LLM to call ``bootstrap`` once it has its routes.

Releases register the routes when the server object is created. Upstream's main branch
creates it first, to listen while the model is loaded, and registers them later.

MPI workers and postprocessing workers import these modules too, since they run the
console script again: there, the classes are wrapped but never used.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

import wrapt

from mhcs.patch_errors import guarded, logger

from .requests import answer_by_adapter, answering_methods

HEALTH_PATH: Final = "/health"
REQUEST_MODULE: Final = "tensorrt_llm.executor.request"
SERVER_MODULE: Final = "tensorrt_llm.serve.openai_server"
DISAGGREGATED_MODULE: Final = "tensorrt_llm.serve.openai_disagg_server"
COMMAND_MODULE: Final = "tensorrt_llm.commands.serve"
#: Attribute of ``app.state`` while a method that registers routes is running.
_IS_REGISTERING: Final = "tensorrt_llm_registers"
CONSEQUENCE: Final = (
    "/ping, /invocations and /adapters will be missing: use a release of TensorRT-LLM "
    "that this version supports, or update model-hosting-container-standards."
)
#: Consequence if the ``LoRARequest`` of a release cannot be patched.
PATH_CONSEQUENCE: Final = (
    "Clients of chat and completions may learn which paths exist: use a release of "
    "TensorRT-LLM that this version supports, or update "
    "model-hosting-container-standards."
)
DISAGGREGATED_PROBLEM: Final = (
    "/ping, /invocations and /adapters are not added to the server of `trtllm-serve "
    "disaggregated`: use `trtllm-serve MODEL` to serve on SageMaker."
)
GRPC_PROBLEM: Final = (
    "`trtllm-serve --grpc` starts no HTTP server, so that /ping, /invocations and "
    "/adapters cannot be added: omit --grpc to serve on SageMaker."
)


def patch() -> None:
    """Register the import hooks. Does not import TensorRT-LLM."""
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
    """Move the check that an adapter's path exists from validation to construction.

    A client's ``lora_request`` is always rejected; a check during validation would give
    different errors for existing and missing paths, and thus disclose which exist.
    Validation of requests calls ``__post_init__`` but not ``__init__``, which all other
    code calls.
    """
    with guarded(f"Patching {module.__name__}", PATH_CONSEQUENCE):
        lora_class: Any = vars(module).get("LoRARequest")
        # Up to 0.21, requests have no such field; since 1.4, the path is not checked.
        check = (
            vars(lora_class).get("__post_init__") if lora_class is not None else None
        )
        if check is not None:
            lora_class.__post_init__ = _skip_check
            _wrap(lora_class, "__init__", _followed_by(check))


def _followed_by(check: Callable[[Any], None]) -> Callable[..., Any]:
    def make(
        wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any
    ) -> None:
        wrapped(*args, **kwargs)
        check(instance)

    return make


def _skip_check(_instance: Any) -> None:
    """Skip the check."""


def _report_disaggregated(module: ModuleType) -> None:
    with guarded(f"Patching {module.__name__}", DISAGGREGATED_PROBLEM):
        server = vars(module).get("OpenAIDisaggServer")
        _wrap(server, "__init__", _reporting(DISAGGREGATED_PROBLEM))


def _report_grpc(module: ModuleType) -> None:
    with guarded(f"Patching {module.__name__}", GRPC_PROBLEM):
        _wrap(module, "launch_grpc_server", _reporting(GRPC_PROBLEM))


def _wrap(holder: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Wrap a function once, if this release has it.

    Args:
        holder: the class or module; None if the release does not have it.
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
    # The arguments differ between releases; none is used here.
    wrapped(*args, **kwargs)
    app = getattr(server, "app", None)
    if app is None:
        with guarded("Giving TensorRT-LLM's server its routes"):
            raise LookupError(f"The server has no app. {CONSEQUENCE}")
        return
    # Like vLLM's app.state: it gives customers' handlers access to the engine.
    app.state.openai_server = server
    if _has_routes(app):
        _bootstrap(app)
    elif _registering_methods(type(server)):
        # Imported late: workers register the hooks too, but do not need FastAPI.
        from model_hosting_container_standards.engines import defer_bootstrap

        defer_bootstrap(app)
    else:
        with guarded("Giving TensorRT-LLM's server its routes"):
            raise LookupError(f"The server has no {HEALTH_PATH}. {CONSEQUENCE}")


def _bootstrap_late(
    wrapped: Callable[..., Any], server: Any, args: Any, kwargs: Any
) -> Any:
    """Bootstrap a server that registers its routes after it was created.

    Such a method may call others: only the outermost call bootstraps the app.
    """
    state = getattr(getattr(server, "app", None), "state", None)
    if not hasattr(state, "openai_server") or hasattr(state, _IS_REGISTERING):
        return wrapped(*args, **kwargs)
    setattr(state, _IS_REGISTERING, True)
    try:
        result = wrapped(*args, **kwargs)
    finally:
        delattr(state, _IS_REGISTERING)
    if _has_routes(server.app):
        _bootstrap(server.app)
    return result


def _registering_methods(server: type) -> list[str]:
    return [name for name in dir(server) if "register" in name and "routes" in name]


def _has_routes(app: Any) -> bool:
    return any(getattr(route, "path", None) == HEALTH_PATH for route in app.routes)


def _bootstrap(app: Any) -> None:
    # Imported late, as above. Unguarded: an unusable customer handler must stop the
    # server's start.
    from model_hosting_container_standards.sagemaker import bootstrap

    bootstrap(app)
