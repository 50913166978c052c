"""The one way in: give an app the routes of SageMaker's contract."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp

from ..adapters.adapter_id import AdapterField, adapter_fields
from ..adapters.adapter_middleware import AdapterMiddleware
from ..adapters.routes import add_adapter_routes
from ..adapters.runtime import AdapterRuntime
from ..adapters.unknown_model import UnknownModels
from ..asgi.endpoint import describe
from ..asgi.routing import find_routes, find_target
from ..contract.routes import INVOCATIONS_ROUTE, PING_ROUTE, RouteConfig
from ..customer_code.moved_names import install_moved_names
from ..engines.api import Engine
from ..engines.registry import find_engine
from ..engines.runtime import EngineRuntime
from ..handlers.customer_handler import load_customer_script
from ..logging_config import configure_logging, get_logger
from ..middleware.resolution import FoundMiddleware, find_middleware
from ..observability.route_labels import INVOCATIONS
from ..sessions.decorators import session_field_of
from ..sessions.engine_sessions import claim_engine_sessions
from ..sessions.session_middleware import SessionMiddleware, SessionsDisabled
from ..settings import Settings, read_settings
from .alias_routes import alias_routes
from .inference_routes import InferenceRoutes
from .invocations import BodyRouter, Invocations, JSONContentType
from .ping import Ping
from .resolution import HandlerResolver, ResolvedHandler

if TYPE_CHECKING:
    from ..middleware.stack import CustomerMiddleware
    from .server_runtime import ServerRuntime

logger = get_logger(__name__)

_STATE: Final = "model_hosting_container_standards"


def bootstrap(app: FastAPI) -> FastAPI:
    """Give ``app`` the routes of SageMaker's contract, and return it.

    Reads the environment, loads the customer script, resolves who answers ``/ping`` and
    ``/invocations``, and puts those routes before the app's own. A second call on the
    same app changes nothing.

    Raises:
        ConfigurationError: an environment variable has a value that is not allowed.
        HandlerResolutionError: a handler that was asked for cannot be used.
        MiddlewareError: the same of a middleware or formatter.
        TypeError: ``app`` is no FastAPI app.
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
    """Put the app back if an error is raised, so that it can be bootstrapped again."""
    routes = [*app.router.routes]
    exception_handlers = {**app.exception_handlers}
    # The lifespan, the middleware stack and what builds it.
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
    running = cache(partial(engine.start, app)) if engine else None
    adapters = _make_adapters(engine, running, settings)
    finder = HandlerResolver(app, engine, settings, script, adapters.base_model)
    ping = finder.find(PING_ROUTE)
    invocations = finder.find(INVOCATIONS_ROUTE)
    middleware = find_middleware(settings, script)
    layers = _make_layers(app, middleware)
    _add_metrics(app, settings, engine)
    add_adapter_routes(app, adapters, settings)
    aliases = alias_routes(settings, engine.inference_paths(app) if engine else ())
    by_customer = invocations is not None and invocations.by_customer
    # A customer's own handler may know encodings that nothing here does.
    any_encoding = {INVOCATIONS} if by_customer else ()
    serving = _make_serving(
        app, settings, engine, running, aliases, adapters, any_encoding
    )
    # After it, as what is put first last is found soonest.
    if ping is not None:
        _put_first(app, PING_ROUTE, aliases, Ping(_with_head(ping), serving))
    if invocations is not None:
        session = _session_step(app, settings, invocations)
        endpoint = _invocations(finder, invocations, session, adapters)
        _put_first(app, INVOCATIONS_ROUTE, aliases, endpoint)
    # From the inside out.
    if engine is not None:
        _lead_inference_routes(finder, engine, adapters)
    if layers is not None:
        layers.surround(app)
    serving.surround(app)
    for route, answer in ((PING_ROUTE, ping), (INVOCATIONS_ROUTE, invocations)):
        _log(route, answer)
    for place, found in middleware.items():
        logger.info("%s: %s: %s", place, describe(found.function), found.source)


def _make_adapters(
    engine: Engine | None,
    running: Callable[[], EngineRuntime] | None,
    settings: Settings,
) -> AdapterRuntime:
    if engine is None or running is None or not engine.description.loads_adapters:
        return AdapterRuntime(None, settings)
    return AdapterRuntime(lambda: running().adapter_backend(), settings)


def _make_layers(
    app: FastAPI, middleware: Mapping[str, FoundMiddleware]
) -> CustomerMiddleware | None:
    if not middleware:
        return None
    # Only a server with middleware needs all that comes with it.
    from ..middleware.stack import make_customer_middleware

    return make_customer_middleware(app, middleware)


def _add_metrics(app: FastAPI, settings: Settings, engine: Engine | None) -> None:
    # Before prometheus_client looks for it, and says less.
    folder = settings.metrics_folder
    # Imported late: with it that comes, which only a server needs.
    from .metrics_route import add_metrics

    add_metrics(app, engine, folder)


def _make_serving(
    app: FastAPI,
    settings: Settings,
    engine: Engine | None,
    running: Callable[[], EngineRuntime] | None,
    aliases: Mapping[str, str],
    adapters: AdapterRuntime,
    any_encoding: Collection[str],
) -> ServerRuntime:
    # Imported late, as above.
    from .server_runtime import ServerRuntime

    return ServerRuntime(
        app, engine, running, settings, aliases, adapters, any_encoding
    )


def _put_first(
    app: FastAPI, route: RouteConfig, aliases: Mapping[str, str], endpoint: ASGIApp
) -> None:
    """Put a route, and its aliases, before all others.

    On every FastAPI version, the first one wins.
    """
    name, methods = f"sagemaker_{route.handler}", [*route.methods]
    further = [alias for alias, path in aliases.items() if path == route.path]
    for path in (*further, route.path):
        app.router.routes.insert(0, Route(path, endpoint, methods=methods, name=name))
    for alias in further:
        logger.info("%s is answered as %s", alias, route.path)


def _with_head(ping: ResolvedHandler) -> dict[str, ASGIApp]:
    return {"HEAD": ping.handlers["GET"], **ping.handlers}


def _invocations(
    finder: HandlerResolver,
    answer: ResolvedHandler,
    session: SessionMiddleware,
    adapters: AdapterRuntime,
) -> Invocations:
    handler = answer.handlers["POST"]
    fields = adapter_fields(answer.function) if answer.function else ()
    routes: dict[str, ASGIApp] | None = {} if answer.by_route else None
    by_engine = answer.by_route and finder.engine is not None
    if answer.by_route and finder.engine is not None:
        fields = fields or (AdapterField(finder.engine.description.adapter_path),)
        routes = dict(_choosable_routes(finder, finder.engine))
    # An app with a route of its own has its own word on content types.
    own = find_routes(finder.app, INVOCATIONS_ROUTE.path, INVOCATIONS_ROUTE.methods)
    if routes is not None and not own:
        handler = (
            handler if isinstance(handler, BodyRouter) else JSONContentType(handler)
        )
        routes = {path: JSONContentType(route) for path, route in routes.items()}
    step = AdapterMiddleware(fields, adapters, takes_forms=by_engine)
    unknown = UnknownModels() if finder.settings.unknown_model else None
    return Invocations(handler, session, step, routes, unknown)


def _lead_inference_routes(
    finder: HandlerResolver, engine: Engine, adapters: AdapterRuntime
) -> None:
    """Let the adapter header count on the engine's own inference routes too."""
    router = finder.app.router
    inner = router.middleware_stack
    field = AdapterField(engine.description.adapter_path)
    handlers = {
        path: finder.with_default_model(path, inner)
        for path in engine.inference_paths(finder.app)
    }
    if handlers:
        step = AdapterMiddleware([field], adapters, takes_forms=True)
        routes = InferenceRoutes(inner, handlers, step)
        router.middleware_stack = routes  # type: ignore[assignment] # any ASGI app


def _session_step(
    app: FastAPI, settings: Settings, answer: ResolvedHandler
) -> SessionMiddleware:
    engine = claim_engine_sessions(app)
    if not settings.sessions_enabled:
        return SessionsDisabled(passes_header=answer.by_customer)
    # With them comes SQLite, which only a server with sessions needs.
    from ..sessions.errors import add_not_found_handler
    from ..sessions.manager import open_sessions
    from ..sessions.protocol import SessionProtocol

    if engine is not None:
        engine.configure(settings)
    sessions = open_sessions(settings)
    add_not_found_handler(app)
    return SessionProtocol(sessions, engine, session_field_of(answer.function))


def _choosable_routes(
    finder: HandlerResolver, engine: Engine
) -> Iterator[tuple[str, ASGIApp]]:
    """Yield what the route attribute may choose: nothing less protected."""
    for path in engine.inference_paths(finder.app):
        target = find_target(finder.app, path, "POST")
        if target is not None and finder.protects(INVOCATIONS_ROUTE, path):
            yield path, finder.with_default_model(path, target)


def _log(route: RouteConfig, answer: ResolvedHandler | None) -> None:
    if answer is None:
        logger.error(
            "Nothing answers %s, which SageMaker needs: define a handler for it in the "
            "customer script, or register one.",
            route.path,
        )
        return
    function = f" {describe(answer.function)}" if answer.function else ""
    logger.info("%s is answered by%s: %s", route.path, function, answer.source)
