"""Import hooks that patch SGLang to call ``bootstrap(app)``.

SGLang has one app, which is complete once its module is imported. It is bootstrapped
only when a server is about to run: any program may import the module.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import wrapt

from mhcs.packages import package_folders
from mhcs.patch_errors import guarded, logger
from model_hosting_container_standards.settings import read_settings

if TYPE_CHECKING:
    from fastapi import FastAPI

#: The module of the app, and its functions that run one server process or several:
#: since 0.5.10, and before.
SERVER_MODULE: Final = "sglang.srt.entrypoints.http_server"
RUN_SERVER: Final = ("_setup_and_run_http_server", "launch_server")
#: The module of the function that adds the check of API keys.
AUTH_MODULE: Final = "sglang.srt.utils.auth"
#: The variable with the app that each of several server processes imports. Releases up
#: to 0.5.22 pass their own app to uvicorn.
APP_PATH: Final = "SGLANG_HTTP_SERVER_APP_PATH"
OUR_APP: Final = "mhcs.sglang.app:app"
#: Servers without a Python app, by the module that starts them.
OTHER_SERVERS: Final = {
    "sglang.srt.entrypoints.grpc_server": "--grpc-mode",
    "sglang.srt.disaggregation.encode_grpc_server": "--encoder-only",
    "sglang.srt.disaggregation.encode_server": "--encoder-only",
    "sglang.srt.disaggregation.encoder.grpc_server": "--encoder-only",
    "sglang.srt.disaggregation.encoder.http_server": "--encoder-only",
}
RUST_SERVER: Final = "SGLANG_RUST_SERVER"
RUST_PROBLEM: Final = (
    f"{RUST_SERVER} starts SGLang's HTTP server in Rust, to which /ping, /invocations "
    "and /adapters cannot be added. Unset it to serve on SageMaker."
)
CONSEQUENCE: Final = (
    "/ping and /invocations will be SGLang's own: use a release of SGLang that this "
    "version supports, or update model-hosting-container-standards."
)
HTTP2_PROBLEM: Final = (
    "--enable-http2 with --tokenizer-worker-num: up to 0.5.22, SGLang starts its own "
    "app then, without this package's routes. Leave one of the two options away."
)
#: The name of this package's plugin.
_PLUGIN: Final = "mhcs"
#: The attribute of the app's state with the arguments of the server.
_ARGUMENTS: Final = "mhcs_server_args"


def patch() -> None:
    """Register the import hooks. Does not import SGLang. A second call does nothing."""
    wrapt.register_post_import_hook(_patch_server, SERVER_MODULE)
    wrapt.register_post_import_hook(_patch_auth, AUTH_MODULE)
    for name in OTHER_SERVERS:
        wrapt.register_post_import_hook(_report, name)


def loads_plugins() -> bool:
    """Whether the installed SGLang loads plugins, which it does since 0.5.11."""
    folders = package_folders("sglang")
    chosen = os.environ.get("SGLANG_PLUGINS", "").strip()
    return any((folder / "srt" / "plugins").is_dir() for folder in folders) and (
        not chosen or _PLUGIN in [name.strip() for name in chosen.split(",")]
    )


def uses_rust_server() -> bool:
    """Whether the environment asks SGLang for its Rust server."""
    return os.environ.get(RUST_SERVER, "").strip().lower() in ("1", "true", "yes", "y")


def is_server_app(app: FastAPI) -> bool:
    """Whether an app is the one of SGLang's server."""
    return getattr(sys.modules.get(SERVER_MODULE), "app", None) is app


def server_args(app: FastAPI) -> Any:
    """Return the ``ServerArgs`` of the server, before it starts; None if unknown."""
    return getattr(app.state, _ARGUMENTS, None)


def _patch_server(module: ModuleType) -> None:
    with guarded(f"Patching {module.__name__}"):
        name = next((name for name in RUN_SERVER if hasattr(module, name)), None)
        if name is None:
            raise LookupError(
                f"{module.__name__} has no {' or '.join(RUN_SERVER)}. {CONSEQUENCE}"
            )
        if not isinstance(getattr(module, name), wrapt.FunctionWrapper):
            wrapt.wrap_function_wrapper(module, name, _bootstrap_first)
    if uses_rust_server():
        logger.error(RUST_PROBLEM)


def _patch_auth(module: ModuleType) -> None:
    consequence = "With --api-key, SageMaker's /ping will be refused."
    with guarded(f"Patching {module.__name__}", consequence):
        name = "add_api_key_middleware"
        if not isinstance(getattr(module, name), wrapt.FunctionWrapper):
            wrapt.wrap_function_wrapper(module, name, _exempt_ping)


def _report(module: ModuleType) -> None:
    logger.error(
        "%s starts a server of SGLang to which /ping, /invocations and /adapters "
        "cannot be added.",
        OTHER_SERVERS[module.__name__],
    )


def _bootstrap_first(
    wrapped: Callable[..., Any], _instance: Any, args: Any, kwargs: Any
) -> Any:
    """Bootstrap the app in this process, or let each server process do it."""
    # Imported late: the scheduler registers the hooks too, but does not need FastAPI.
    from .failed_start import exit_if_start_fails

    arguments = args[0] if args else kwargs["server_args"]
    if getattr(arguments, "tokenizer_worker_num", 1) > 1:
        _serve_our_app(arguments)
    else:
        app = sys.modules[SERVER_MODULE].app
        setattr(app.state, _ARGUMENTS, arguments)
        bootstrap_app(app)
    with exit_if_start_fails():
        return wrapped(*args, **kwargs)


def _serve_our_app(arguments: Any) -> None:
    """Make each of several server processes import the app of this package."""
    import uvicorn

    if getattr(arguments, "enable_http2", False) and not _reads_app_path():
        logger.error(HTTP2_PROBLEM)
    if os.environ.setdefault(APP_PATH, OUR_APP) != OUR_APP:
        logger.error("%s names another app. %s", APP_PATH, CONSEQUENCE)
    if not isinstance(uvicorn.run, wrapt.FunctionWrapper):
        wrapt.wrap_function_wrapper(uvicorn, "run", _run_our_app)


def _reads_app_path() -> bool:
    """Whether the release has :data:`APP_PATH`."""
    environ = sys.modules.get("sglang.srt.environ")
    return hasattr(getattr(environ, "envs", None), APP_PATH)


def _run_our_app(
    wrapped: Callable[..., Any], _instance: Any, args: Any, kwargs: Any
) -> Any:
    if args[:1] == (f"{SERVER_MODULE}:app",):
        args = (OUR_APP, *args[1:])
    return wrapped(*args, **kwargs)


def bootstrap_app(app: Any) -> Any:
    """Call ``bootstrap``, unguarded: an unusable customer handler stops the start."""
    # Imported late, as above.
    from model_hosting_container_standards.sagemaker import bootstrap

    from .errors import hide_requests
    from .failed_start import end_warmup_on_error, note_failed_start
    from .shutdown import start_loop_before_warmups
    from .warmup import control_warmup

    hide_requests(app)
    module = sys.modules[SERVER_MODULE]
    host = getattr(server_args(app), "host", None)
    control_warmup(module, read_settings().api_key, host)
    start_loop_before_warmups(app, module)
    end_warmup_on_error(app, module)
    bootstrap(app)
    note_failed_start(app)
    _require_admin_key(app)
    return app


def _require_admin_key(app: Any) -> None:
    """Make ``/adapters`` require the key that SGLang requires to load adapters."""
    level = getattr(sys.modules.get(AUTH_MODULE), "AuthLevel", None)
    if level is None:
        return
    for route in app.router.routes:
        if getattr(route, "path", "").startswith("/adapters"):
            route.endpoint._auth_level = level.ADMIN_OPTIONAL


def _exempt_ping(
    wrapped: Callable[..., Any], _instance: Any, args: Any, kwargs: Any
) -> Any:
    # Imported late, as above.
    from .ping_exemption import exempt_ping

    app = args[0] if args else kwargs["app"]
    before = [*app.user_middleware]
    result = wrapped(*args, **kwargs)
    exempt_ping(app, before)
    return result
