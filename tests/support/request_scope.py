"""Run code inside an HTTP request with adapter leases, without a server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from model_hosting_container_standards.adapters.lease_middleware import LeaseMiddleware
from model_hosting_container_standards.adapters.registry import AdapterRegistry
from model_hosting_container_standards.adapters.runtime import AdapterRuntime
from model_hosting_container_standards.settings import read_settings

T = TypeVar("T")


async def within_request(
    adapters: AdapterRegistry, answer: Callable[[], Awaitable[T]]
) -> T:
    """Call ``answer`` inside a request, and return its result."""
    runtime = AdapterRuntime(None, read_settings({}))
    runtime.current = adapters
    answers: list[T] = []

    async def app(*_: Any) -> None:
        answers.append(await answer())

    async def nothing(*_: Any) -> Any:
        """Stand in for ``receive`` and ``send``."""

    await LeaseMiddleware(app, runtime)({"type": "http"}, nothing, nothing)
    return answers[0]
