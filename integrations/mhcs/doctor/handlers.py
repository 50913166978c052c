"""The handlers that would answer, and the customer's middleware."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from types import ModuleType

from fastapi import FastAPI

from model_hosting_container_standards.asgi.endpoint import as_endpoint, describe
from model_hosting_container_standards.asgi.routing import add_route
from model_hosting_container_standards.contract.routes import (
    BIDIRECTIONAL_STREAM,
    INVOCATIONS_ROUTE,
    PING_ROUTE,
    STREAM,
)
from model_hosting_container_standards.customer_code.moved_names import (
    install_moved_names,
)
from model_hosting_container_standards.engines.registry import installed_engines
from model_hosting_container_standards.exceptions import (
    HandlerResolutionError,
    MiddlewareError,
)
from model_hosting_container_standards.handlers.customer_handler import (
    CustomerHandler,
    load_customer_script,
    resolve_customer_handler,
)
from model_hosting_container_standards.handlers.stream_handler import (
    find_stream_handler,
)
from model_hosting_container_standards.middleware.resolution import find_middleware
from model_hosting_container_standards.middleware.stack import make_customer_middleware
from model_hosting_container_standards.settings import Settings

from .report import Report


def resolve_handlers(settings: Settings, report: Report) -> None:
    """Add handlers and middleware to the report, or problems if they cannot be used."""
    for engine in installed_engines():
        install_moved_names(engine.moved_names)
    try:
        script = load_customer_script(settings)
    except HandlerResolutionError as error:
        report.problems.append(_explain(error))
        return
    for route in (PING_ROUTE, INVOCATIONS_ROUTE):
        try:
            report.handlers[route.path] = _handler(route.handler, settings, script)
        except HandlerResolutionError as error:
            report.problems.append(_explain(error))
    try:
        if (stream := find_stream_handler()) is not None:
            source = f"{describe(stream)} (@{STREAM} decorator)"
            report.handlers[BIDIRECTIONAL_STREAM] = source
    except HandlerResolutionError as error:
        report.problems.append(_explain(error))
    try:
        report.middleware = dict(_middleware(settings, script))
    except MiddlewareError as error:
        report.problems.append(_explain(error))


def _middleware(
    settings: Settings, script: ModuleType | None
) -> Iterator[tuple[str, str]]:
    by_place = find_middleware(settings, script)
    # Fails if a middleware cannot be used.
    make_customer_middleware(FastAPI(), by_place)
    for place, middleware in by_place.items():
        yield place, f"{describe(middleware.function)} ({middleware.source})"


def _handler(name: str, settings: Settings, script: ModuleType | None) -> str:
    customer = resolve_customer_handler(name, settings, script)
    if customer is None:
        return "the framework's registered handler, or the engine"
    return f"{_target(customer)} ({customer.source})"


def _target(customer: CustomerHandler) -> str:
    if customer.handler is None:
        return f"the server's route {customer.path}, if it has one"
    # Fails if FastAPI does not support the signature.
    add_route(FastAPI(), "/", as_endpoint(customer.handler), "POST")
    return describe(customer.handler)


def _explain(error: HandlerResolutionError | MiddlewareError) -> str:
    """Return the message, with the line of the customer's code that raised."""
    cause = error.__cause__
    if isinstance(cause, SyntaxError) or cause is None or cause.__traceback__ is None:
        return str(error)
    frame = traceback.extract_tb(cause.__traceback__)[-1]
    return f"{error} ({frame.filename}:{frame.lineno})"
