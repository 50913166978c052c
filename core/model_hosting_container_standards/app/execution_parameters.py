"""``GET /execution-parameters``: how a batch transform job should send its records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ..asgi.routing import find_routes
from ..contract.routes import EXECUTION_PARAMETERS
from ..settings import Settings

#: SageMaker's default, and its limit of payload times concurrent requests.
_PAYLOAD_MB: Final = 6
_JOB_MB: Final = 100
_BYTES_PER_MB: Final = 1 << 20


class ExecutionParameters:
    """The route as an ASGI app.

    Args:
        max_concurrency: returns how many requests the server processes at once.

    Raises:
        ConfigurationError: a variable has an invalid value.
    """

    def __init__(self, settings: Settings, max_concurrency: Callable[[], int]) -> None:
        self._strategy = settings.batch_strategy
        self._transforms = settings.max_concurrent_transforms
        self._payload_mb = _payload_mb(settings)
        self._max_concurrency = max_concurrency

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse(self.parameters())(scope, receive, send)

    def parameters(self) -> dict[str, Any]:
        return {
            "MaxConcurrentTransforms": self._max_transforms(),
            "BatchStrategy": self._strategy,
            "MaxPayloadInMB": self._payload_mb,
        }

    def _max_transforms(self) -> int:
        if self._transforms is not None:
            return self._transforms
        # SageMaker refuses a job above its limit. No payload limit is written as 0.
        allowed = _JOB_MB // max(1, self._payload_mb)
        return max(1, min(self._max_concurrency(), allowed))


def _payload_mb(settings: Settings) -> int:
    if settings.max_payload_mb is not None:
        return settings.max_payload_mb
    if settings.max_body_bytes is None:
        return _PAYLOAD_MB
    return max(1, min(_PAYLOAD_MB, settings.max_body_bytes // _BYTES_PER_MB))


def add_execution_parameters(
    app: FastAPI, settings: Settings, max_concurrency: Callable[[], int]
) -> None:
    """Add the route before all others, unless the app has one of its own."""
    parameters = ExecutionParameters(settings, max_concurrency)
    if find_routes(app, EXECUTION_PARAMETERS, ["GET"]):
        return
    route = Route(EXECUTION_PARAMETERS, parameters, methods=["GET"])
    app.router.routes.insert(0, route)
