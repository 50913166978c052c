"""Checks of bidirectional streams, which are WebSockets."""

from __future__ import annotations

from functools import partial
from typing import Final

from model_hosting_container_standards.contract.routes import BIDIRECTIONAL_STREAM

from ..check import check
from ..container import Container
from ..exchange import Exchange
from ..expect import ABSENT, expect, expect_no_failure, expect_status
from ..verdict import FailedError, NotOfferedError
from ..websocket import Frame, Opcode, WebSocket

_PAGE: Final = "how-to/bidirectional-streaming.md"
_SENDS: Final = f"{_PAGE}#what-sagemaker-sends"
#: Servers without the route: Starlette's 403, and those that do not know WebSockets.
_NOT_OFFERED: Final = (*ABSENT, 400, 403, 426)
SWITCHED: Final = 101
_TOGETHER: Final = 4
_PING: Final = b"mhcs-check"


def _open(container: Container, path: str = BIDIRECTIONAL_STREAM) -> Exchange:
    return container.client.websocket(path, WebSocket.close)


def _open_stream(container: Container) -> Exchange:
    return _open(container)


def require_stream(container: Container) -> None:
    """Return if the container opens a bidirectional stream.

    Raises:
        NotOfferedError: it has none.
    """
    exchange = container.once(_open_stream)
    if exchange.status in _NOT_OFFERED:
        raise NotOfferedError(f"{BIDIRECTIONAL_STREAM}: {exchange.outcome}", exchange)
    if exchange.status != SWITCHED:
        raise FailedError(
            f"{BIDIRECTIONAL_STREAM}: {exchange.outcome}, not {SWITCHED}", exchange
        )


def close_of(frame: Frame) -> str:
    """Return the code of a close that has to have one."""
    expect(frame.close_code is not None, f"not a close with a code, but {frame}")
    return f"closed with {frame.close_code}"


@check(
    "websockets-open",
    f"A WebSocket to {BIDIRECTIONAL_STREAM} is opened, and closed",
    _PAGE,
)
def opened(container: Container) -> str:
    require_stream(container)
    exchange = expect_status(container.once(_open_stream), SWITCHED)
    container.client.show(exchange)
    return exchange.outcome


@check(
    "websockets-ping",
    "It answers a ping, as the platform sends one each minute",
    _SENDS,
)
def ping(container: Container) -> str:
    require_stream(container)
    answers: list[Frame] = []

    def talk(websocket: WebSocket) -> None:
        websocket.send(Opcode.PING, _PING)
        answers.append(websocket.receive_until(Opcode.PONG))
        websocket.close()

    exchange = expect_status(
        container.client.websocket(BIDIRECTIONAL_STREAM, talk), SWITCHED
    )
    if answers[0] != Frame(Opcode.PONG, _PING):
        raise FailedError(f"it answered a ping by: {answers[0]}", exchange)
    return "by a pong with the same content"


@check(
    "websockets-concurrent", f"{_TOGETHER} WebSockets at once are open together", _PAGE
)
def concurrent(container: Container) -> str:
    require_stream(container)
    calls = [partial(_open, container) for _ in range(_TOGETHER)]
    for exchange in container.together([*calls]):
        expect_status(exchange, SWITCHED)
    return f"{_TOGETHER} were opened and closed"


@check(
    "websockets-disconnect",
    "A client that hangs up without a close does no harm",
    _PAGE,
)
def disconnect(container: Container) -> str:
    require_stream(container)
    for _ in range(_TOGETHER):
        hung_up = container.client.websocket(BIDIRECTIONAL_STREAM, lambda _: None)
        expect_status(hung_up, SWITCHED)
    expect_status(container.ping(), 200)
    expect_status(_open(container), SWITCHED)
    return f"after {_TOGETHER} of them, /ping answers and a new one opens"


@check("websockets-unknown", "A WebSocket to an unknown path is refused", _SENDS)
def unknown(container: Container) -> str:
    require_stream(container)
    exchange = expect_no_failure(_open(container, "/mhcs-check-no-such-path"))
    expect(exchange.status != SWITCHED, "it was opened")
    return exchange.outcome
