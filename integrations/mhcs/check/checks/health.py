"""Checks of /ping beside requests: its area is that of /ping."""

from __future__ import annotations

import time
from typing import Final

from ..check import check
from ..container import Container
from ..discovery import find_invocation, known_body
from ..exchange import Exchange
from ..expect import expect_status
from ..verdict import FailedError, SkippedError
from .ping import PINGS, ping_seconds

_PING: Final = "explanation/health-and-shutdown.md#ping"
_HUNG: Final = "explanation/health-and-shutdown.md#hung"
_REQUESTS: Final = 4
_TOKENS: Final = 64
_POLL_S: Final = 1.0
#: How many times the time of a request until a hung engine has to be known as hung.
_PATIENCE: Final = 3


@check(
    "ping-load",
    "/ping stays a 200 within 2 seconds while requests run",
    _PING,
)
def under_load(container: Container) -> str:
    body = known_body(container)
    if body.document is not None:
        body = body.with_tokens(_TOKENS)
    series = container.latencies.setdefault("GET /ping under load", [])

    def ask() -> None:
        container.invoke(body)

    def ping() -> None:
        for _ in range(PINGS):
            series.append(ping_seconds(container.ping()))

    container.together([*[ask] * _REQUESTS, ping])
    slowest = max(series) * 1000
    return f"the slowest of {PINGS} beside {_REQUESTS} requests took {slowest:.0f} ms"


@check("ping-honest", "/ping is a 200 only while /invocations answers", _HUNG)
def honest(container: Container) -> str:
    found = container.once(find_invocation)
    if found.body is not None:
        expect_status(container.ping(), 200)
        return "both answer"
    status = found.exchange.status
    if status is not None and status < 500 and found.exchange.is_whole:
        raise SkippedError("no body is known that /invocations answers: give --body")
    return _wait_for_unhealthy(container, found.exchange)


def _wait_for_unhealthy(container: Container, failed: Exchange) -> str:
    """Wait until /ping says that something is wrong: a server may need some time."""
    started = time.monotonic() - failed.seconds
    limit = container.client.timeout * _PATIENCE
    while (exchange := container.ping()).status == 200:
        waited = time.monotonic() - started
        if waited > limit:
            raise FailedError(
                f"{failed.request_line}: {failed.outcome}; after {waited:.0f} s /ping "
                "is still a 200, so the platform keeps sending requests"
            )
        time.sleep(min(_POLL_S, limit / 10))
    return f"/invocations: {failed.outcome}; /ping: {exchange.outcome}"
