"""The client's side of a WebSocket (RFC 6455), as far as the checks need it."""

from __future__ import annotations

import base64
import hashlib
import secrets
from enum import IntEnum
from typing import Final, NamedTuple

from .connection import DeadlineSocket
from .exchange import Exchange

#: What a server hashes with the client's key (RFC 6455, section 1.3).
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTROL: Final = 0x8
_LENGTH_LIMIT: Final = 125


class Opcode(IntEnum):
    """Kinds of frames."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class Frame(NamedTuple):
    """A frame of the server."""

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


class NotWebSocketError(ValueError):
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


class WebSocket:
    """An open one. What is sent and what comes is in the exchange, as text.

    Every method raises an :class:`OSError` at the deadline and when the server has hung
    up, and :class:`NotWebSocketError` when it breaks the protocol.
    """

    def __init__(self, opened: DeadlineSocket, exchange: Exchange, limit: int) -> None:
        self._opened = opened
        self._exchange = exchange
        self._limit = limit

    def send(self, opcode: Opcode, payload: bytes = b"") -> None:
        """Send a frame; ``payload`` has at most 125 bytes."""
        if len(payload) > _LENGTH_LIMIT:
            raise ValueError(f"longer than {_LENGTH_LIMIT} bytes")
        mask = secrets.token_bytes(4)
        masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))
        head = bytes([0x80 | opcode, 0x80 | len(payload)])
        self._exchange.body += f"{Frame(opcode, payload)}\n".encode()
        self._opened.sendall(head + mask + masked)

    def receive(self) -> Frame:
        """Return the next frame; a ping has been answered."""
        flags, length = self._read(2)
        if length > 0x7F:
            raise NotWebSocketError("a frame of the server is masked")
        if length > _LENGTH_LIMIT:
            size = 2 if length == _LENGTH_LIMIT + 1 else 8
            length = int.from_bytes(self._read(size), "big")
        if length > self._limit:
            raise NotWebSocketError(f"a frame is longer than {self._limit} bytes")
        try:
            frame = Frame(Opcode(flags & 0xF), self._read(length))
        except ValueError:
            raise NotWebSocketError(f"a frame has the opcode {flags & 0xF}") from None
        self._exchange.answer += f"{frame}\n".encode()
        if frame.opcode is Opcode.PING:
            self.send(Opcode.PONG, frame.payload)
        return frame

    def receive_until(self, opcode: Opcode) -> Frame:
        """Return the next frame of the kind, or the server's close."""
        while (frame := self.receive()).opcode not in (opcode, Opcode.CLOSE):
            pass
        return frame

    def close(self, code: int = 1000) -> Frame:
        """Close the connection, and return the server's close."""
        self.send(Opcode.CLOSE, code.to_bytes(2, "big"))
        return self.receive_until(Opcode.CLOSE)

    def _read(self, length: int) -> bytes:
        content = self._opened.reader.read(length)
        if len(content) < length:
            raise ConnectionResetError
        return content
