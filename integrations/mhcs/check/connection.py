"""Connections that end at a deadline, however slowly the server sends."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Any, cast

from .address import Address


class DeadlineSocket:
    """The part of a socket that :mod:`http.client` uses, with a deadline.

    The timeout of a socket holds for each read, so a server that sends a byte now and
    then would never meet it.
    """

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket = connected
        self._deadline = deadline
        #: Whether the server has closed, and all that it sent has been read.
        self.is_at_end = False
        #: For the head and the frames after it, some of which it may already have.
        self.reader: io.BufferedReader = io.BufferedReader(_Reader(self))

    def sendall(self, content: bytes) -> None:
        self._set_timeout()
        self._socket.sendall(content)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return self.reader

    def receive_into(self, buffer: Any) -> int:
        self._set_timeout()
        count = self._socket.recv_into(buffer)
        self.is_at_end = self.is_at_end or count == 0
        return count

    def close(self) -> None:
        """Do nothing: http.client closes before the answer is read."""

    def _set_timeout(self) -> None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._socket.settimeout(remaining)


class _Reader(io.RawIOBase):
    def __init__(self, source: DeadlineSocket) -> None:
        super().__init__()
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._source.receive_into(buffer)


def open_socket(address: Address, deadline: float) -> socket.socket:
    """Connect to the address.

    Args:
        deadline: in seconds of :func:`time.monotonic`.

    Raises:
        OSError: there is no connection, or no agreement on TLS.
    """
    timeout = max(deadline - time.monotonic(), 0.001)
    connected = socket.create_connection((address.host, address.port), timeout)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if address.scheme == "https":
        return _encrypted(connected, address.host, deadline)
    return connected


def http_connection(
    opened: DeadlineSocket, address: Address
) -> http.client.HTTPConnection:
    """Return a connection over the socket."""
    connection = http.client.HTTPConnection(address.host, address.port)
    connection.sock = cast("socket.socket", opened)
    return connection


def _encrypted(connected: socket.socket, host: str, deadline: float) -> socket.socket:
    context = ssl.create_default_context()
    wrapped = context.wrap_socket(
        connected, server_hostname=host, do_handshake_on_connect=False
    )
    # A handshake has many reads, each of which has the whole timeout.
    timer = threading.Timer(max(deadline - time.monotonic(), 0), _cut, [wrapped])
    timer.start()
    try:
        wrapped.do_handshake()
    except BaseException:
        wrapped.close()
        raise
    finally:
        timer.cancel()
    return wrapped


def _cut(wrapped: socket.socket) -> None:
    with suppress(OSError):
        # Not that of SSLSocket, which also drops the state that the handshake uses.
        socket.socket.shutdown(wrapped, socket.SHUT_RDWR)
