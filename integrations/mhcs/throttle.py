"""A throttle that is ready to use.

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

#: What watches and manages the server has to get through when it is busy.
_FREE: Final = ("/ping", "/adapters")
#: For the rounding of sums of intervals.
_TOLERANCE_S: Final = 1e-6


class Throttle:
    """Answers 429 with Retry-After where a server would take on more than it can do.

    It counts the requests that make an engine work: every POST but those to ``/ping``
    and ``/adapters``. One is in flight until the app has done with it, a stream to its
    end. What a second allows may come at once. Each API server process counts its own.
    A request that a handler of the server makes to it is a part of the one it answers,
    and is never refused.
    ``clock`` returns seconds.

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
        self._free = [*_FREE, *filter(None, [settings.health_route])]
        self._clock = clock
        self._in_flight = 0
        #: When the requests so far are all due at the rate that is allowed.
        self._due = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_work(scope, self._free):
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
        """Let a request in.

        Raises:
            HTTPException: 429, there are too many.
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


def _is_work(scope: Scope, others: Iterable[str]) -> bool:
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    if path.startswith(f"{root}/"):
        path = path[len(root) :]
    return not any(path == free or path.startswith(f"{free}/") for free in others)


def _too_many(what: str, seconds: float) -> HTTPException:
    retry_after = str(max(1, math.ceil(seconds)))
    return HTTPException(
        HTTPStatus.TOO_MANY_REQUESTS,
        f"This server is at its limit: {what} Try again in {retry_after} s.",
        {"Retry-After": retry_after},
    )
