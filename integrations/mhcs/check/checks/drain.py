"""Checks of a shutdown: SIGTERM, while requests run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Final

from model_hosting_container_standards.contract.limits import (
    PING_LIMIT_S,
    STOP_LIMIT_S,
)
from model_hosting_container_standards.contract.routes import BIDIRECTIONAL_STREAM
from model_hosting_container_standards.processes.tree import is_running

from ..body import Body
from ..check import Need, check
from ..container import Container
from ..discovery import known_body
from ..exchange import Exchange
from ..expect import documents, events, expect, expect_status
from ..verdict import FailedError, NotOfferedError, SkippedError, VerdictError
from ..websocket import Frame, Opcode, WebSocket
from .streams import check_stream, is_error, is_stream, stream_body
from .websockets import SWITCHED, answer_to_ping, close_of, require_stream

_SHUTDOWN: Final = "explanation/health-and-shutdown.md#shutdown"
_CLOSE: Final = "how-to/bidirectional-streaming.md#a-shutdown"
_POLL_S: Final = 0.05
_STREAMS: Final = 4
_TOKENS: Final = 200


@dataclass(slots=True)
class _Shutdown:
    """What was seen after SIGTERM; ``ended_s`` is None if the process still runs."""

    running: list[Exchange] = field(default_factory=list)
    pings: list[Exchange] = field(default_factory=list)
    requests: list[Exchange] = field(default_factory=list)
    websockets: list[Exchange] = field(default_factory=list)
    closes: list[Frame] = field(default_factory=list)
    is_closed_early: bool = False
    ended_s: float | None = None


def _shut_down(container: Container) -> _Shutdown:
    """Send SIGTERM once requests run, and watch until the process has ended."""
    body = _long_body(container)
    seen = _Shutdown()
    begun = [Event() for _ in range(_STREAMS)]
    opened = Event()

    def run(has_begun: Event) -> None:
        def on_part(_: Exchange) -> bool:
            has_begun.set()
            return True

        try:
            seen.running.append(container.invoke(body, on_part=on_part))
        finally:
            has_begun.set()

    def wait_for_close() -> None:
        def talk(websocket: WebSocket) -> None:
            seen.is_closed_early = answer_to_ping(websocket).opcode is Opcode.CLOSE
            opened.set()
            seen.closes.append(websocket.receive_until_closed())

        _wait_for(begun)
        try:
            seen.websockets.append(
                container.client.websocket(
                    BIDIRECTIONAL_STREAM, talk, timeout=STOP_LIMIT_S
                )
            )
        finally:
            opened.set()

    def terminate() -> None:
        _wait_for([*begun, opened])
        _watch_end(container, body, seen)

    runs: list[Callable[[], None]] = [partial(run, has_begun) for has_begun in begun]
    if _has_websocket(container):
        runs.append(wait_for_close)
    else:
        opened.set()
    container.together([*runs, terminate])
    return seen


def _wait_for(events: Iterable[Event]) -> None:
    for event in events:
        event.wait()


def _has_websocket(container: Container) -> bool:
    try:
        require_stream(container)
    except VerdictError:
        return False
    return True


def _long_body(container: Container) -> Body:
    try:
        return stream_body(container, tokens=_TOKENS)
    except NotOfferedError:
        return known_body(container)


def _watch_end(container: Container, body: Body, seen: _Shutdown) -> None:
    pid = container.options.drain or 0
    started = time.monotonic()
    with suppress(ProcessLookupError):  # It has ended by itself.
        os.kill(pid, signal.SIGTERM)
    while is_running(pid) and time.monotonic() - started < STOP_LIMIT_S:
        seen.pings.append(container.ping())
        if seen.pings[-1].status != 200 and not seen.requests:
            seen.requests.append(container.invoke(body))
        time.sleep(_POLL_S)
    if not is_running(pid):
        seen.ended_s = time.monotonic() - started


@check(
    "drain-streams",
    "After SIGTERM, running requests are finished, or ended by an error that says so",
    _SHUTDOWN,
    Need.DRAIN,
)
def running(container: Container) -> str:
    seen = container.once(_shut_down).running
    container.client.show(*seen)
    ends = [_end_of(exchange) for exchange in seen]
    whole = ends.count("whole")
    return f"{whole} finished, {len(ends) - whole} ended by an error"


def _end_of(exchange: Exchange) -> str:
    if not is_stream(exchange):
        expect_status(exchange, 200, 503)
        return "whole" if exchange.status == 200 else "error"
    data = documents(events(exchange))
    expect(exchange.is_whole, f"a stream was cut after {len(data)} events")
    if any(map(is_error, data)):
        return "error"
    check_stream(exchange)
    return "whole"


@check(
    "drain-ping",
    "After SIGTERM, /ping is no longer a 200",
    _SHUTDOWN,
    Need.DRAIN,
)
def ping(container: Container) -> str:
    seen = container.once(_shut_down)
    container.client.show(*seen.pings)
    if not seen.pings:
        return "the process had ended before it could be asked"
    is_late = seen.ended_s is None or seen.ended_s > PING_LIMIT_S
    last = seen.pings[-1]
    expect(last.status != 200 or not is_late, "/ping was a 200 until the end")
    return last.outcome


@check(
    "drain-requests",
    "After SIGTERM, new requests are a 503 or get no connection",
    _SHUTDOWN,
    Need.DRAIN,
)
def requests(container: Container) -> str:
    seen = container.once(_shut_down).requests
    container.client.show(*seen)
    for exchange in seen:
        if exchange.status not in (None, 503):
            text = f"{exchange.request_line}: {exchange.outcome}, not 503"
            raise FailedError(text, exchange)
    return seen[0].outcome if seen else "the process had ended before there were any"


@check(
    "drain-websocket",
    "After SIGTERM, an open WebSocket is closed with a code",
    _CLOSE,
    Need.DRAIN,
)
def websocket(container: Container) -> str:
    seen = container.once(_shut_down)
    require_stream(container)
    container.client.show(*seen.websockets)
    if seen.is_closed_early:
        raise SkippedError("the server closed it before SIGTERM")
    expect_status(seen.websockets[0], SWITCHED)
    return close_of(seen.closes[0])


@check(
    "drain-end", "The process ends within 30 seconds of SIGTERM", _SHUTDOWN, Need.DRAIN
)
def end(container: Container) -> str:
    seconds = container.once(_shut_down).ended_s
    if seconds is None:
        raise FailedError(f"it still runs {STOP_LIMIT_S:.0f} s after SIGTERM")
    # A request that hangs until the end may have been watched for longer.
    expect(seconds <= STOP_LIMIT_S, f"it ended {seconds:.1f} s after SIGTERM")
    return f"after {seconds:.1f} s"
