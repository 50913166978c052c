"""Who would answer, and what middleware goes around it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from types import ModuleType

from fastapi import FastAPI

from model_hosting_container_standards.asgi.endpoint import as_endpoint, describe
from model_hosting_container_standards.asgi.routing import add_route
from model_hosting_container_standards.contract.routes import (
    INVOCATIONS_ROUTE,
    PING_ROUTE,
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
from model_hosting_container_standards.middleware.resolution import find_middleware
from model_hosting_container_standards.middleware.stack import make_customer_middleware
from model_hosting_container_standards.settings import Settings

from .report import Report


def resolve_handlers(settings: Settings, report: Report) -> None:
    """Find them as the start does; what cannot be used is a problem of the report."""
    for engine in installed_engines():
        install_moved_names(engine.moved_names)
    try:
        script = load_customer_script(settings)
    except HandlerResolutionError as error:
        report.problems.append(_explain(error))
        return
    for route in (PING_ROUTE, INVOCATIONS_ROUTE):
        try:
            answer = _who_answers(route.handler, settings, script)
            report.handlers[route.path] = answer
        except HandlerResolutionError as error:
            report.problems.append(_explain(error))
    try:
        report.middleware = dict(_middleware(settings, script))
    except MiddlewareError as error:
        report.problems.append(_explain(error))


def _middleware(
    settings: Settings, script: ModuleType | None
) -> Iterator[tuple[str, str]]:
    found = find_middleware(settings, script)
    make_customer_middleware(FastAPI(), found)
    for place, middleware in found.items():
        yield place, f"{describe(middleware.function)} ({middleware.source})"


def _who_answers(name: str, settings: Settings, script: ModuleType | None) -> str:
    customer = resolve_customer_handler(name, settings, script)
    if customer is None:
        return "the framework's registered handler, or the engine"
    return f"{_target(customer)} ({customer.source})"


def _target(customer: CustomerHandler) -> str:
    if customer.handler is None:
        return f"the server's route {customer.path}, if it has one"
    add_route(FastAPI(), "/", as_endpoint(customer.handler), "POST")
    return describe(customer.handler)


def _explain(error: HandlerResolutionError | MiddlewareError) -> str:
    """Return the message, and the customer's own line where one raised."""
    cause = error.__cause__
    if isinstance(cause, SyntaxError) or cause is None or cause.__traceback__ is None:
        return str(error)
    frame = traceback.extract_tb(cause.__traceback__)[-1]
    return f"{error} ({frame.filename}:{frame.lineno})"
