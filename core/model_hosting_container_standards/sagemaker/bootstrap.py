"""The one way in: give an app the routes of SageMaker's contract."""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp

from ..common.custom_code_ref_resolver.moved_names import install_moved_names
from ..common.fastapi.endpoint import describe
from ..common.fastapi.routing import find_target
from ..common.handler.resolver import load_customer_script
from ..config import Settings, read_settings
from ..engine import Engine, find_engine
from ..logging_config import configure_logging, get_logger
from .answers import Answer, AnswerFinder
from .config import INVOCATIONS_ROUTE, PING_ROUTE, RouteConfig
from .invocations import Invocations
from .lora.adapter_header import AdapterField, adapter_field
from .lora.handlers import add_adapter_routes
from .ping import Ping

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
        TypeError: ``app`` is no FastAPI app.
    """
    if not isinstance(app, FastAPI):
        raise TypeError(f"bootstrap() takes a FastAPI app, not {type(app).__name__}.")
    if not is_bootstrapped(app):
        settings = read_settings()
        configure_logging(settings.log_level)
        settings.check_supported()
        _add_contract_routes(app, settings)
        setattr(app.state, _STATE, True)
    return app


def is_bootstrapped(app: FastAPI) -> bool:
    """Whether :func:`bootstrap` has run on this app."""
    return hasattr(app.state, _STATE)


def _add_contract_routes(app: FastAPI, settings: Settings) -> None:
    engine = find_engine(app)
    if engine is not None:
        install_moved_names(engine.moved_names)
    finder = AnswerFinder(app, engine, settings, load_customer_script(settings))
    ping = finder.find(PING_ROUTE)
    invocations = finder.find(INVOCATIONS_ROUTE)
    add_adapter_routes(app)
    if ping is not None:
        _put_first(app, PING_ROUTE, Ping(_with_head(ping)))
    if invocations is not None:
        _put_first(app, INVOCATIONS_ROUTE, _invocations(app, engine, invocations))
    for route, answer in ((PING_ROUTE, ping), (INVOCATIONS_ROUTE, invocations)):
        _log(route, answer)


def _put_first(app: FastAPI, route: RouteConfig, endpoint: ASGIApp) -> None:
    """Put a route before all others: on every FastAPI version, the first one wins."""
    name = route.path.strip("/")
    app.router.routes.insert(
        0, Route(route.path, endpoint, methods=[*route.methods], name=name)
    )


def _with_head(ping: Answer) -> dict[str, ASGIApp]:
    return {"HEAD": ping.handlers["GET"], **ping.handlers}


def _invocations(app: FastAPI, engine: Engine | None, answer: Answer) -> Invocations:
    adapter = adapter_field(answer.function) if answer.function else None
    if not answer.by_engine:
        return Invocations(answer.handlers["POST"], adapter, routes=None)
    if engine is None:
        return Invocations(answer.handlers["POST"], adapter, routes={})
    targets = {
        path: find_target(app, path, "POST") for path in engine.inference_paths(app)
    }
    return Invocations(
        answer.handlers["POST"],
        adapter or AdapterField(engine.adapter_path),
        {path: target for path, target in targets.items() if target is not None},
    )


def _log(route: RouteConfig, answer: Answer | None) -> None:
    if answer is None:
        logger.error(
            "Nothing answers %s, which SageMaker needs: define a handler for it in the "
            "customer script, or register one.",
            route.path,
        )
        return
    function = f" {describe(answer.function)}" if answer.function else ""
    logger.info("%s is answered by%s: %s", route.path, function, answer.source)
