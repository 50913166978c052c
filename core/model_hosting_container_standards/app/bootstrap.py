"""``bootstrap(app)``: adds the routes of SageMaker's contract to an app."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI
from starlette.types import ASGIApp

from ..adapters.routes import add_adapter_routes
from ..adapters.runtime import AdapterRuntime
from ..asgi.endpoint import describe
from ..asgi.fixed_route import FixedRoute
from ..asgi.routing import move_to_front
from ..contract.routes import INVOCATIONS_ROUTE, PING_ROUTE, RouteConfig
from ..customer_code.moved_names import install_moved_names
from ..engines.api import Engine
from ..engines.registry import find_engine
from ..engines.runtime import EngineRuntime
from ..handlers.customer_handler import load_customer_script
from ..logging_config import configure_logging, get_logger
from ..middleware.resolution import FoundMiddleware, find_middleware
from ..observability.route_labels import INVOCATIONS, known_routes
from ..sessions.engine_sessions import claim_engine_sessions
from ..sessions.session_middleware import SessionMiddleware
from ..sessions.stateful_routes import find_places
from ..settings import Settings, read_settings
from .alias_routes import alias_routes
from .bidirectional_stream import add_bidirectional_stream
from .execution_parameters import add_execution_parameters
from .invocations_route import make_invocations
from .ping import Ping
from .resolution import HandlerResolver, ResolvedHandler
from .route_wrappers import (
    wrap_adapter_routes,
    wrap_inference_routes,
    wrap_stateful_routes,
)

if TYPE_CHECKING:
    from ..middleware.stack import CustomerMiddleware
    from .json_lines import JSONLines
    from .server_runtime import ServerRuntime

logger = get_logger(__name__)

_STATE: Final = "model_hosting_container_standards"
#: How many requests are processed at once where the engine does not tell.
_DEFAULT_CONCURRENCY: Final = 64


def bootstrap(app: FastAPI) -> FastAPI:
    """Add the routes of SageMaker's contract to ``app`` and return it.

    Reads the environment, loads the customer script, resolves the handlers of ``/ping``
    and ``/invocations``, and puts their routes before the app's own. A second call on
    the same app changes nothing.

    Raises:
        ConfigurationError: an environment variable has a value that is not allowed.
        HandlerResolutionError: a configured handler cannot be used.
        MiddlewareError: a configured middleware or formatter cannot be used.
        TypeError: ``app`` is not a FastAPI app.
    """
    if not isinstance(app, FastAPI):
        raise TypeError(f"bootstrap() takes a FastAPI app, not {type(app).__name__}.")
    if not is_bootstrapped(app):
        settings = read_settings()
        configure_logging(settings.log_level, settings.log_format)
        with _undone_on_error(app):
            _add_contract_routes(app, settings)
        setattr(app.state, _STATE, True)
    return app


@contextmanager
def _undone_on_error(app: FastAPI) -> Iterator[None]:
    """Restore the app if an error is raised, so that it can be bootstrapped again."""
    routes = [*app.router.routes]
    exception_handlers = {**app.exception_handlers}
    # These include the lifespan, the middleware stack and the method that builds it.
    attributes = [(owner, {**vars(owner)}) for owner in (app, app.router)]
    try:
        yield
    except BaseException:
        for owner, before in attributes:
            vars(owner).clear()
            vars(owner).update(before)
        app.router.routes[:] = routes
        app.exception_handlers.clear()
        app.exception_handlers.update(exception_handlers)
        raise


def is_bootstrapped(app: FastAPI) -> bool:
    """Whether :func:`bootstrap` has run on this app."""
    return hasattr(app.state, _STATE)


def _add_contract_routes(app: FastAPI, settings: Settings) -> None:
    engine = find_engine(app)
    if engine is not None:
        install_moved_names(engine.moved_names)
    script = load_customer_script(settings)
    get_runtime = cache(partial(engine.start, app)) if engine else None
    adapters = _make_adapters(engine, get_runtime, settings)
    places = find_places(app)
    resolver = HandlerResolver(app, engine, settings, script, adapters, places)
    ping = resolver.find(PING_ROUTE)
    invocations = resolver.find(INVOCATIONS_ROUTE)
    middleware = find_middleware(settings, script)
    inference_paths = engine.inference_paths(app) if engine else ()
    aliases = alias_routes(settings, inference_paths)
    labels = known_routes(inference_paths, aliases)
    by_customer = invocations is not None and invocations.by_customer
    max_concurrency = partial(_max_concurrency, get_runtime)
    # A customer's own handler gets JSON Lines as they are.
    by_engine = engine is not None and not by_customer
    lines = _make_json_lines(adapters, max_concurrency) if by_engine else None
    customer_middleware = _make_customer_middleware(app, middleware, lines, labels)
    add_bidirectional_stream(app, has_engine=engine is not None)
    _add_metrics(app, settings, engine)
    add_adapter_routes(app, adapters, settings)
    add_execution_parameters(app, settings, max_concurrency)
    # A customer's own handler may support encodings that this package does not.
    any_encoding = {INVOCATIONS} if by_customer else ()
    server_runtime = _make_server_runtime(
        app, settings, engine, get_runtime, labels, adapters, any_encoding
    )
    # Engines have up to a hundred routes, and the router tries them in order.
    move_to_front(app, inference_paths, "POST")
    # After the metrics and adapter routes: the last route that is put first wins.
    if ping is not None:
        _put_first(app, PING_ROUTE, aliases, Ping(_with_head(ping), server_runtime))
    needs_sessions = invocations is not None or places
    sessions = _start_sessions(app, settings, engine) if needs_sessions else None
    if invocations is not None:
        endpoint = make_invocations(
            resolver, invocations, sessions, adapters, inference_paths, lines
        )
        _put_first(app, INVOCATIONS_ROUTE, aliases, endpoint)
    # Wrap the app from the inside out.
    if engine is not None:
        wrap_inference_routes(resolver, engine, adapters, inference_paths)
    wrap_adapter_routes(app, adapters, inference_paths)
    wrap_stateful_routes(app, sessions)
    if customer_middleware is not None:
        customer_middleware.surround(app)
    server_runtime.surround(app)
    _log(PING_ROUTE, ping)
    _log(INVOCATIONS_ROUTE, invocations)
    _log_middleware(middleware)


def _make_adapters(
    engine: Engine | None,
    get_runtime: Callable[[], EngineRuntime] | None,
    settings: Settings,
) -> AdapterRuntime:
    if engine is None or get_runtime is None or not engine.description.loads_adapters:
        return AdapterRuntime(None, settings)
    return AdapterRuntime(
        lambda: get_runtime().adapter_backend(),
        settings,
        lambda *args: get_runtime().open_adapter_registry(*args),
    )


def _max_concurrency(get_runtime: Callable[[], EngineRuntime] | None) -> int:
    known = get_runtime().max_concurrency() if get_runtime is not None else None
    return known or _DEFAULT_CONCURRENCY


def _make_json_lines(
    adapters: AdapterRuntime, max_concurrency: Callable[[], int]
) -> JSONLines:
    # Imported late: it imports prometheus_client.
    from .json_lines import JSONLines

    return JSONLines(adapters, max_concurrency)


def _make_customer_middleware(
    app: FastAPI,
    middleware: Mapping[str, FoundMiddleware],
    lines: JSONLines | None,
    labels: Mapping[str, str],
) -> CustomerMiddleware | None:
    if not middleware:
        return None
    # Imported late: only an app with customers' middleware needs it.
    from ..middleware.stack import make_customer_middleware

    if lines is None:
        return make_customer_middleware(app, middleware)
    from .json_lines import JSONLinesMiddleware

    by_line = partial(JSONLinesMiddleware, lines=lines, labels=labels)
    return make_customer_middleware(app, middleware, by_line)


def _add_metrics(app: FastAPI, settings: Settings, engine: Engine | None) -> None:
    # Read first: its error says more than that of prometheus_client.
    folder = settings.metrics_folder
    # Imported late: it imports prometheus_client, which only a server needs.
    from .metrics_route import add_metrics

    add_metrics(app, engine, folder)


def _make_server_runtime(
    app: FastAPI,
    settings: Settings,
    engine: Engine | None,
    get_runtime: Callable[[], EngineRuntime] | None,
    labels: Mapping[str, str],
    adapters: AdapterRuntime,
    any_encoding: Collection[str],
) -> ServerRuntime:
    # Imported late, as above.
    from .server_runtime import ServerRuntime

    return ServerRuntime(
        app, engine, get_runtime, settings, labels, adapters, any_encoding
    )


def _put_first(
    app: FastAPI, route: RouteConfig, aliases: Mapping[str, str], endpoint: ASGIApp
) -> None:
    """Insert a route and its aliases before all others.

    In every FastAPI version, the first matching route wins.
    """
    name, methods = f"sagemaker_{route.handler}", [*route.methods]
    alias_paths = [alias for alias, path in aliases.items() if path == route.path]
    for path in (*alias_paths, route.path):
        fixed = FixedRoute(path, endpoint, methods=methods, name=name)
        app.router.routes.insert(0, fixed)
    for alias in alias_paths:
        logger.info("%s is answered as %s", alias, route.path)


def _with_head(ping: ResolvedHandler) -> dict[str, ASGIApp]:
    return {"HEAD": ping.handlers["GET"], **ping.handlers}


def _start_sessions(
    app: FastAPI, settings: Settings, engine: Engine | None
) -> SessionMiddleware | None:
    """Return the session step of the app's routes; None while sessions are off."""
    engine_sessions = claim_engine_sessions(app)
    if not settings.sessions_enabled:
        return None
    # Imported late: only a server with sessions needs SQLite.
    from ..sessions.errors import add_not_found_handler
    from ..sessions.manager import open_sessions
    from ..sessions.protocol import SessionProtocol

    if engine_sessions is not None:
        engine_sessions.configure(settings)
    sessions = open_sessions(settings, engine.session_storage(app) if engine else None)
    add_not_found_handler(app)
    return SessionProtocol(sessions, engine_sessions)


def _log(route: RouteConfig, resolved: ResolvedHandler | None) -> None:
    if resolved is None:
        logger.error(
            "No handler answers %s, which SageMaker requires: define one in the "
            "customer script, or register one.",
            route.path,
        )
        return
    function = f" {describe(resolved.function)}" if resolved.function else ""
    logger.info("%s is answered by%s: %s", route.path, function, resolved.source)


def _log_middleware(middleware: Mapping[str, FoundMiddleware]) -> None:
    for place, found in middleware.items():
        logger.info("%s: %s: %s", place, describe(found.function), found.source)
