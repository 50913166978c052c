"""The client's side of a WebSocket (RFC 6455), as far as the checks need it."""

from __future__ import annotations

import base64
import hashlib
import secrets
from contextlib import suppress
from enum import IntEnum
from typing import Final, NamedTuple

from .connection import DeadlineSocket
from .exchange import Exchange

#: What a server appends to the client's key before it hashes it (section 1.3).
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#: Bits of a frame's first two bytes (section 5.2).
_FINAL: Final = 0x80
_RESERVED: Final = 0x70
_CONTROL: Final = 0x08
_MASKED: Final = 0x80
#: Bytes of a control frame's payload.
_MAX_CONTROL_PAYLOAD: Final = 125


class Opcode(IntEnum):
    """Kinds of frames."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class Frame(NamedTuple):
    """A frame."""

    opcode: Opcode
    payload: bytes

    @property
    def close_code(self) -> int | None:
        """The code of a close, None if it has none."""
        has_code = self.opcode is Opcode.CLOSE and len(self.payload) > 1
        return int.from_bytes(self.payload[:2], "big") if has_code else None

    def __str__(self) -> str:
        if self.opcode is Opcode.CLOSE:
            reason = self.payload[2:].decode(errors="replace")
            return f"close {self.close_code or 'without a code'} {reason}".rstrip()
        text = self.payload.decode(errors="replace")
        return f"{self.opcode.name.lower()} {text}".rstrip()


class WebSocketProtocolError(ValueError):
    """The server breaks the protocol."""


def handshake_headers() -> dict[str, str]:
    """Return the headers that ask for a WebSocket."""
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(secrets.token_bytes(16)).decode(),
    }


def accept_of(key: str) -> str:
    """Return the Sec-WebSocket-Accept that belongs to a Sec-WebSocket-Key."""
    # Not for security: the protocol wants SHA-1.
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def check_handshake(exchange: Exchange) -> None:
    """Check the headers of a 101 (section 4.1).

    Raises:
        WebSocketProtocolError: a client must not use the connection.
    """

    def value(name: str) -> str:
        return (exchange.header(name) or "").strip()

    if value("upgrade").lower() != "websocket":
        raise WebSocketProtocolError("the 101 has no Upgrade: websocket")
    tokens = [token.strip() for token in value("connection").lower().split(",")]
    if "upgrade" not in tokens:
        raise WebSocketProtocolError("the 101 has no Connection: Upgrade")
    if value("sec-websocket-accept") != accept_of(
        exchange.headers["Sec-WebSocket-Key"]
    ):
        raise WebSocketProtocolError("Sec-WebSocket-Accept does not fit the key")
    for name in ("Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"):
        if value(name):
            raise WebSocketProtocolError(f"{name} was not asked for")


class WebSocket:
    """A client's open WebSocket, which records its frames in the exchange as text.

    Every method raises an :class:`OSError` at the deadline and when the server has hung
    up, and :class:`WebSocketProtocolError`.

    Args:
        limit: bytes of all frames of the server together.
    """

    def __init__(self, opened: DeadlineSocket, exchange: Exchange, limit: int) -> None:
        self._socket = opened
        self._exchange = exchange
        self._limit = limit
        self._has_sent_close = False
        self._close: Frame | None = None

    def send(self, opcode: Opcode, payload: bytes = b"") -> None:
        """Send a frame; ``payload`` has at most 125 bytes."""
        if len(payload) > _MAX_CONTROL_PAYLOAD:
            raise ValueError(f"longer than {_MAX_CONTROL_PAYLOAD} bytes")
        mask = secrets.token_bytes(4)
        masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))
        head = bytes([_FINAL | opcode, _MASKED | len(payload)])
        self._exchange.body += f"{Frame(opcode, payload)}\n".encode()
        self._socket.sendall(head + mask + masked)

    def receive(self) -> Frame:
        """Return the next frame, after answering it if it is a ping or a close."""
        frame = self._read_frame()
        self._exchange.answer += f"{frame}\n".encode()
        if frame.opcode is Opcode.PING:
            self.send(Opcode.PONG, frame.payload)
        elif frame.opcode is Opcode.CLOSE:
            self._close = frame
            with suppress(OSError):  # It may have hung up.
                self._send_close(frame.payload[:2])
        return frame

    def receive_until_closed(self) -> Frame:
        """Return the server's close."""
        while self._close is None:
            self.receive()
        return self._close

    def close(self, code: int = 1000) -> Frame:
        """Close the connection, and return the server's close."""
        self._send_close(code.to_bytes(2, "big"))
        return self.receive_until_closed()

    def _send_close(self, payload: bytes) -> None:
        if not self._has_sent_close:
            self._has_sent_close = True
            self.send(Opcode.CLOSE, payload)

    def _read_frame(self) -> Frame:
        flags, length = self._read(2)
        if length & _MASKED:
            raise WebSocketProtocolError("a frame of the server is masked")
        if flags & _RESERVED:
            raise WebSocketProtocolError("a frame has a reserved bit")
        is_long = length > _MAX_CONTROL_PAYLOAD
        if flags & _CONTROL and (is_long or not flags & _FINAL):
            raise WebSocketProtocolError("a control frame is too long or fragmented")
        if is_long:
            length = int.from_bytes(self._read(2 if length == 126 else 8), "big")
        if len(self._exchange.answer) + length > self._limit:
            raise WebSocketProtocolError(f"its frames exceed {self._limit} bytes")
        try:
            opcode = Opcode(flags & 0x0F)
        except ValueError:
            raise WebSocketProtocolError(
                f"a frame has the opcode {flags & 0x0F}"
            ) from None
        return Frame(opcode, self._read(length))

    def _read(self, length: int) -> bytes:
        content = self._socket.reader.read(length)
        if len(content) < length:
            raise ConnectionResetError
        return content
