"""Run the checks, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Final

from .check import Check, Need
from .container import Container
from .discovery import first_ping
from .exchange import Exchange, cut, excerpt, hide
from .printable import printable
from .report import Report, Result
from .verdict import FailedError, SkippedError, Status, VerdictError

#: Exchanges of a check that are shown: the first ones, and the last ones.
_FIRST: Final = 2
_LAST: Final = 6
_FINDING: Final = 500
_POLL_S: Final = 1.0
#: Seconds for the removal of what is left, after the time for the checks.
_RESTORE_S: Final = 60.0


def run(
    container: Container,
    checks: Sequence[Check],
    on_result: Callable[[Result], None],
    *,
    wait: float = 0.0,
    docs: str | None = None,
) -> Report:
    """Run the checks, and remove what they have registered, also when interrupted.

    Args:
        wait: seconds to wait until /ping is a 200.
    """
    started = time.monotonic()
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    report = Report(container.client.address.url, now, docs)
    try:
        _wait_until_ready(container, wait)
        for check in checks:
            is_first = not report.results
            report.results.append(_run_check(container, check, is_first))
            on_result(report.results[-1])
    finally:
        container.client.deadline = time.monotonic() + _RESTORE_S
        container.restore()
        report.left = container.adapters
    report.latencies = {k: v for k, v in container.latencies.items() if v}
    report.seconds = time.monotonic() - started
    return report


def _wait_until_ready(container: Container, seconds: float) -> None:
    deadline = min(time.monotonic() + seconds, container.client.deadline)
    while time.monotonic() < deadline and container.ping().status != 200:
        time.sleep(min(_POLL_S, max(deadline - time.monotonic(), 0)))


def _run_check(container: Container, check: Check, is_first: bool) -> Result:
    started = time.monotonic()
    with container.client.recording() as exchanges:
        status, finding, culprit = _judge(container, check, is_first)
    if culprit is not None:
        # The last one is what the text shows.
        exchanges = [*(x for x in exchanges if x is not culprit), culprit]
    secret = container.client.api_key
    is_gone = status is Status.FAIL and any(x.is_unreachable for x in exchanges)
    if is_gone and check.needs is not Need.DRAIN:
        container.gone = f"the server has gone: see {check.name}"
    shown, omitted = _select(exchanges)
    return Result(
        check,
        status,
        cut(printable(hide(finding, secret)), _FINDING),
        time.monotonic() - started,
        [excerpt(exchange, secret) for exchange in shown],
        omitted,
    )


def _judge(
    container: Container, check: Check, is_first: bool
) -> tuple[Status, str, Exchange | None]:
    """Return the status, the finding, and the exchange that shows it."""
    try:
        _require_ping(container, is_first)
        need = check.missing(container.options, container.client.api_key)
        if need is not None:
            raise SkippedError(f"give {need.value}")
        return Status.PASS, check.run(container), None
    except VerdictError as error:
        return error.status, str(error), error.exchange


def _require_ping(container: Container, is_first: bool) -> None:
    """Return if the server is there: else one check fails, and the others skip."""
    if container.gone is not None:
        raise SkippedError(container.gone)
    exchange = container.once(first_ping)
    if exchange.status is None:
        error = FailedError if is_first else SkippedError
        raise error(f"GET /ping: {exchange.outcome}")


def _select(exchanges: list[Exchange]) -> tuple[list[Exchange], int]:
    if len(exchanges) <= _FIRST + _LAST:
        return exchanges, 0
    shown = [*exchanges[:_FIRST], *exchanges[-_LAST:]]
    return shown, len(exchanges) - len(shown)
