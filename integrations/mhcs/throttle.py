"""A ready-made throttle middleware.

CUSTOM_FASTAPI_MIDDLEWARE_THROTTLE=mhcs.throttle:Throttle
MHCS_THROTTLE_MAX_IN_FLIGHT=64
MHCS_THROTTLE_MAX_PER_SECOND=20
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Final

from fastapi import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from model_hosting_container_standards.asgi.errors import RecordingSend, answer_error
from model_hosting_container_standards.exceptions import MiddlewareRegistrationError
from model_hosting_container_standards.settings import Settings, read_settings
from model_hosting_container_standards.tracking.request_tracker import is_own

#: Health checks and management must work on a busy server.
_EXEMPT: Final = ("/ping", "/adapters")
#: Allows for rounding in sums of intervals.
_TOLERANCE_S: Final = 1e-6


class Throttle:
    """Middleware that answers 429 with Retry-After above a limit.

    It counts requests that need the engine: every POST except to ``/ping`` and
    ``/adapters``. A request is in flight until its response is complete. The requests
    of one second may arrive at once. Each API server process counts separately.
    Requests that a handler sends to its own server are never refused.

    Args:
        clock: returns seconds.

    Raises:
        MiddlewareRegistrationError: no limit is set.
    """

    def __init__(
        self, app: ASGIApp, clock: Callable[[], float] = time.monotonic
    ) -> None:
        settings = read_settings()
        self.app = app
        self.max_in_flight = settings.throttle_in_flight or math.inf
        self.max_per_second = settings.throttle_per_second or math.inf
        if self.max_in_flight == self.max_per_second == math.inf:
            raise MiddlewareRegistrationError(
                f"{type(self).__name__} has no limit: set "
                f"{Settings.throttle_in_flight.name} or "
                f"{Settings.throttle_per_second.name}."
            )
        self._exempt = [*_EXEMPT, *filter(None, [settings.health_route])]
        self._clock = clock
        self._in_flight = 0
        #: When the next request is due at the allowed rate.
        self._due = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_counted(scope, self._exempt):
            await self.app(scope, receive, send)
            return
        try:
            self._check()
        except HTTPException as error:
            if is_own(scope):
                await self.app(scope, receive, send)
            else:
                await answer_error(error, scope, receive, RecordingSend(send))
            return
        self._in_flight += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._in_flight -= 1

    def _check(self) -> None:
        """Admit a request, and count it for the rate.

        Raises:
            HTTPException: 429, a limit is reached.
        """
        if self._in_flight >= self.max_in_flight:
            raise _too_many(f"{self._in_flight} requests are being answered.", 1)
        now = self._clock()
        due = max(self._due, now)
        interval = 1 / self.max_per_second
        wait = due + interval - now - max(1.0, interval)
        if wait > _TOLERANCE_S:
            raise _too_many(f"{self.max_per_second:g} requests a second.", wait)
        self._due = due + interval


def _is_counted(scope: Scope, exempt: Iterable[str]) -> bool:
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    if path.startswith(f"{root}/"):
        path = path[len(root) :]
    return not any(path == one or path.startswith(f"{one}/") for one in exempt)


def _too_many(reason: str, seconds: float) -> HTTPException:
    retry_after = str(max(1, math.ceil(seconds)))
    return HTTPException(
        HTTPStatus.TOO_MANY_REQUESTS,
        f"This server is at its limit: {reason} Try again in {retry_after} s.",
        {"Retry-After": retry_after},
    )
