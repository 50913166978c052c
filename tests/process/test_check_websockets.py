"""``mhcs check`` on servers that open WebSockets and then break the protocol."""

from __future__ import annotations

import re
import socket
from typing import Final

import pytest

from check_command import run_check
from mhcs.check.websocket import Frame, Opcode, WebSocket, accept_of
from model_hosting_container_standards.contract.routes import BIDIRECTIONAL_STREAM
from raw_server import Respond, answer, raw_server, read_head, wait_for_hang_up

QUICK: Final = ("--timeout=0.5", "--total-timeout=20")
HEAD: Final = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n"
)
CLOSE: Final = b"\x88\x02\x03\xe8"


def opens(
    frames: bytes = b"",
    accept: str | None = None,
    stays: bool = False,
    head: str = HEAD,
) -> Respond:
    """Open a WebSocket, send the frames at once, and hang up unless it ``stays``."""

    def respond(connection: socket.socket, request: str) -> None:
        key = re.search(r"(?i)sec-websocket-key: (\S+)", request)
        if key is None:
            answer(connection, b"")
            return
        opened = head.format(accept or accept_of(key[1])).encode()
        connection.sendall(opened + frames)
        if stays:
            wait_for_hang_up(connection)

    return respond


def test_accept_matches_the_example_of_the_rfc() -> None:
    """The example of RFC 6455, section 1.3."""
    accept = accept_of("dGhlIHNhbXBsZSBub25jZQ==")
    assert accept == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


BROKEN: Final = {
    "hangs up": (opens(), "the connection was closed in the middle"),
    "stays": (opens(stays=True), "no end within 0.5 s"),
    "wrong key": (opens(accept="abc"), "Sec-WebSocket-Accept does not fit the key"),
    "no Upgrade": (
        opens(head=HEAD.replace("Upgrade: websocket", "A: b")),
        "the 101 has no Upgrade: websocket",
    ),
    "no Connection": (
        opens(head=HEAD.replace("Connection: Upgrade", "Connection: keep-alive")),
        "the 101 has no Connection: Upgrade",
    ),
    "extension": (
        opens(
            head=HEAD.replace("Upgrade:", "Sec-WebSocket-Extensions: a\r\nUpgrade:", 1)
        ),
        "Sec-WebSocket-Extensions was not asked for",
    ),
    "masked": (opens(b"\x88\x82"), "a frame of the server is masked"),
    "too long": (opens(b"\x82\x7f" + b"\xff" * 8), "its frames exceed 16777216 bytes"),
    "reserved bit": (opens(b"\xc1\x00"), "a frame has a reserved bit"),
    "fragmented ping": (opens(b"\x09\x00"), "control frame is too long or fragmented"),
    "long ping": (opens(b"\x89\x7e\x00\x7e"), "is too long or fragmented"),
    "unknown opcode": (opens(b"\x83\x00"), "a frame has the opcode 3"),
    "cut frame": (opens(b"\x82\x7e\x01\x00abc"), "was closed in the middle"),
    "cut length": (opens(b"\x82\x7e\x01"), "was closed in the middle"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_websocket_is_described(name: str) -> None:
    respond, finding = BROKEN[name]
    with raw_server(respond, read_head) as url:
        checked = run_check(url, *QUICK, "--only=websockets-open")
    assert checked.named("fail") == ["websockets-open"]
    assert finding in checked.results["websockets-open"]["finding"]


@pytest.mark.parametrize("name", BROKEN)
def test_broken_websocket_is_checked_to_the_end(name: str) -> None:
    with raw_server(BROKEN[name][0], read_head) as url:
        checked = run_check(url, *QUICK, "--only=websockets", "--api-key=key")
    assert checked.named("pass") == []
    assert checked.status == 1


@pytest.mark.parametrize(
    "pong",
    [b"\x8a\x05other", b"", b"\x8a\x00"],
    ids=["other content", "none", "no content"],
)
@pytest.mark.parametrize("stays", [True, False])
def test_wrong_answer_to_a_ping_is_found(pong: bytes, stays: bool) -> None:
    with raw_server(opens(pong + CLOSE, stays=stays), read_head) as url:
        checked = run_check(url, *QUICK, "--only=websockets-ping")
    assert checked.named("fail") == ["websockets-ping"]
    finding = checked.results["websockets-ping"]["finding"]
    assert finding == "it answered a ping by: close 1000"


def test_messages_and_pings_of_the_server_may_come_first() -> None:
    frames = b"\x81\x7e\x01\x00" + b"a" * 256 + b"\x89\x01p" + b"\x8a\x0amhcs-check"
    with raw_server(opens(frames + CLOSE, stays=True), read_head) as url:
        checked = run_check(url, *QUICK, "--only=websockets-ping")
    assert checked.named("pass") == ["websockets-ping"], checked.document
    sent = checked.results["websockets-ping"]["exchanges"]
    assert "pong p" in str(sent)


@pytest.mark.parametrize("status", [400, 403, 404, 405, 426])
def test_container_without_websockets_does_not_offer_them(status: int) -> None:
    def respond(connection: socket.socket, path: str) -> None:
        answer(connection, b"", status=200 if path == "/ping" else status)

    with raw_server(respond) as url:
        checked = run_check(url, *QUICK, "--only=websockets")
    assert checked.status == 0
    assert len(checked.named("not offered")) == len(checked.results) > 4


@pytest.mark.parametrize("status", [200, 401, 500])
def test_handshake_with_another_status_fails(status: int) -> None:
    def respond(connection: socket.socket, path: str) -> None:
        answer(connection, b"", status=200 if path == "/ping" else status)

    with raw_server(respond) as url:
        checked = run_check(url, *QUICK, "--only=websockets-open")
    assert (
        f"{BIDIRECTIONAL_STREAM}: {status} "
        in checked.results["websockets-open"]["finding"]
    )
    assert checked.status == 1


@pytest.mark.parametrize(
    ("frame", "code", "text"),
    [
        (Frame(Opcode.CLOSE, b""), None, "close without a code"),
        (Frame(Opcode.CLOSE, b"\x03\xf4bye"), 1012, "close 1012 bye"),
        (Frame(Opcode.TEXT, b"\x03\xf4"), None, "text \x03\ufffd"),
    ],
)
def test_frame_is_described(frame: Frame, code: int | None, text: str) -> None:
    assert frame.close_code == code
    assert str(frame) == text


def test_long_control_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than 125 bytes"):
        WebSocket(None, None, 0).send(Opcode.PING, b"a" * 126)  # type: ignore[arg-type]
