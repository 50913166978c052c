"""Assigns the frameworks' registrations to the apps of a process."""

from __future__ import annotations

import sys
from collections.abc import Callable

from fastapi import FastAPI

from ..asgi.endpoint import unwrap
from ..asgi.routing import has_route, iter_routes
from .registry import Handler, Registrations, T


def claim_served(
    registrations: Registrations[T],
    name: str,
    app: FastAPI,
    function_of: Callable[[T], Handler],
) -> T | None:
    """Remove the registrations that are routes of the app; return the newest one."""
    routes = list(iter_routes(app))
    served = [
        item
        for item in registrations.newest_first(name)
        if has_route(routes, function_of(item))
    ]
    for item in served:
        registrations.remove(name, item)
    return served[0] if served else None


def claim(
    registrations: Registrations[T],
    name: str,
    app: FastAPI,
    function_of: Callable[[T], Handler],
) -> T | None:
    """Return the newest registration that is a route of the app, else the newest."""
    served = claim_served(registrations, name, app, function_of)
    return served or claim_newest(registrations, name, function_of)


def claim_newest(
    registrations: Registrations[T], name: str, function_of: Callable[[T], Handler]
) -> T | None:
    """Return the newest registration, if there is one.

    A closure or method belongs to one app, so it is removed and goes to the first app
    that claims it. A module-level function stays registered for every app.
    """
    newest = next(iter(registrations.newest_first(name)), None)
    if newest is not None and not _is_module_level(function_of(newest)):
        registrations.remove(name, newest)
    return newest


def _is_module_level(function: Handler) -> bool:
    inner = unwrap(function)
    module = sys.modules.get(getattr(inner, "__module__", ""))
    attribute = getattr(module, getattr(inner, "__name__", ""), None)
    return attribute is not None and unwrap(attribute) is inner
