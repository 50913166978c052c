"""Checks of /ping."""

from __future__ import annotations

from typing import Final

from model_hosting_container_standards.contract.limits import PING_LIMIT_S

from ..check import check
from ..container import Container
from ..discovery import first_ping
from ..exchange import Exchange
from ..expect import expect, expect_status, require_route

_ROUTES: Final = "reference/http.md#routes"
#: How many pings a check sends.
PINGS: Final = 20


@check("ping-answers", "GET /ping is a 200 within 2 seconds", _ROUTES)
def answers(container: Container) -> str:
    exchange = container.once(first_ping)
    container.client.show(exchange)
    return f"200 in {ping_seconds(exchange) * 1000:.0f} ms"


@check("ping-times", "20 pings in a row are 200 within 2 seconds each", _ROUTES)
def times(container: Container) -> str:
    series = container.latencies.setdefault("GET /ping", [])
    for _ in range(PINGS):
        series.append(ping_seconds(container.ping()))
    return f"the slowest of {PINGS} took {max(series) * 1000:.0f} ms"


@check("ping-methods", "HEAD and POST /ping answer as GET does", _ROUTES)
def methods(container: Container) -> str:
    for method in ("HEAD", "POST"):
        expect_status(require_route(container.ping(method)), 200)
    return "both are 200"


def ping_seconds(exchange: Exchange) -> float:
    """Return the seconds of a ping that has to be in time."""
    expect_status(exchange, 200)
    late = f"GET /ping took {exchange.seconds:.1f} s; the platform waits {PING_LIMIT_S}"
    expect(exchange.seconds <= PING_LIMIT_S, late)
    return exchange.seconds
