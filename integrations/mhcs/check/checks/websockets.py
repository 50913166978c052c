"""Checks of bidirectional streams, which are WebSockets."""

from __future__ import annotations

from typing import Final

from model_hosting_container_standards.contract.routes import BIDIRECTIONAL_STREAM

from ..check import check
from ..container import Container
from ..exchange import Exchange
from ..expect import ABSENT, expect, expect_refusal, expect_status
from ..verdict import FailedError, NotOfferedError
from ..websocket import Frame, Opcode, WebSocket

_PAGE: Final = "how-to/bidirectional-streaming.md"
_SENDS: Final = f"{_PAGE}#what-sagemaker-sends"
#: Servers without the route: Starlette's 403, and those that do not know WebSockets.
_NOT_OFFERED: Final = (*ABSENT, 400, 403, 426)
SWITCHED: Final = 101
_TOGETHER: Final = 4
_PING: Final = b"mhcs-check"
_PONG: Final = Frame(Opcode.PONG, _PING)


def _open(container: Container, path: str = BIDIRECTIONAL_STREAM) -> Exchange:
    return container.client.websocket(path, WebSocket.close)


def require_stream(container: Container) -> None:
    """Return if the container opens a bidirectional stream.

    Raises:
        NotOfferedError: it has none.
    """
    exchange = container.once(_open)
    if exchange.status in _NOT_OFFERED:
        raise NotOfferedError(f"{BIDIRECTIONAL_STREAM}: {exchange.outcome}", exchange)
    if exchange.status != SWITCHED:
        raise FailedError(
            f"{BIDIRECTIONAL_STREAM}: {exchange.outcome}, not {SWITCHED}", exchange
        )


def answer_to_ping(websocket: WebSocket) -> Frame:
    """Send a ping, and return its pong, or a close."""
    websocket.send(Opcode.PING, _PING)
    # A pong of other content need not be an answer.
    while (frame := websocket.receive()) != _PONG and frame.opcode is not Opcode.CLOSE:
        pass
    return frame


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
    exchange = expect_status(container.once(_open), SWITCHED)
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
        answers.append(answer_to_ping(websocket))
        websocket.close()

    exchange = expect_status(
        container.client.websocket(BIDIRECTIONAL_STREAM, talk), SWITCHED
    )
    if answers[0] != _PONG:
        raise FailedError(f"it answered a ping by: {answers[0]}", exchange)
    return "by a pong with the same content"


@check(
    "websockets-concurrent", f"{_TOGETHER} WebSockets are open at the same time", _PAGE
)
def concurrent(container: Container) -> str:
    require_stream(container)
    for exchange in _open_nested(container, _TOGETHER):
        expect_status(exchange, SWITCHED)
    return f"{_TOGETHER} were"


def _open_nested(container: Container, count: int) -> list[Exchange]:
    """Open WebSockets, each while those before it are open."""
    inner: list[Exchange] = []

    def talk(websocket: WebSocket) -> None:
        if count > 1:
            inner.extend(_open_nested(container, count - 1))
        websocket.close()

    own = container.client.websocket(BIDIRECTIONAL_STREAM, talk)
    # The one that failed first is the first.
    return [*inner, own]


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
    return expect_refusal(_open(container, "/mhcs-check-no-such-path")).outcome
