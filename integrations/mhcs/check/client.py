"""Requests to the container: each ends by a deadline, and none raises for an answer."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Final

from .address import Address
from .connection import DeadlineSocket, http_connection, open_socket
from .exchange import Exchange, cut
from .verdict import OutOfTimeError
from .websocket import (
    WebSocket,
    WebSocketProtocolError,
    check_handshake,
    handshake_headers,
)

#: Bytes. Longer answers are not read to their end.
ANSWER_LIMIT: Final = 16 * 1024 * 1024
_PART: Final = 65536

#: Is called with each part of an answer; hangs up by returning False.
OnPart = Callable[[Exchange], bool]
#: Reads what follows the head of an answer.
_ReadAnswer = Callable[[http.client.HTTPResponse, DeadlineSocket], None]


class Client:
    """Sends requests on connections of their own, and records the exchanges.

    Args:
        timeout: seconds for each request.
        deadline: of all requests, in seconds of :func:`time.monotonic`.
    """

    def __init__(
        self, address: Address, api_key: str | None, timeout: float, deadline: float
    ) -> None:
        self.address = address
        self.api_key = api_key
        self.timeout = timeout
        self.deadline = deadline
        self._record: list[Exchange] = []
        self._open: set[socket.socket] = set()

    def abort(self) -> None:
        """Cut all connections, so that threads end that wait for answers."""
        for opened in list(self._open):
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def recording(self) -> Iterator[list[Exchange]]:
        """Record the exchanges of the block, those of its threads too."""
        self._record = []
        yield self._record

    def show(self, *exchanges: Exchange) -> None:
        """Record exchanges that an earlier check has made."""
        self._record.extend(x for x in exchanges if x not in self._record)

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
        on_part: OnPart | None = None,
        with_key: bool = True,
    ) -> Exchange:
        """Send a request, and read its answer to the end.

        Raises:
            OutOfTimeError: the deadline of all requests has passed.
        """
        sent = {**(headers or {}), **self._authorization(headers, with_key)}
        exchange = Exchange(method, path, sent, body)
        started = time.monotonic()

        def read(response: http.client.HTTPResponse, _: DeadlineSocket) -> None:
            _read(response, exchange, started, on_part)

        return self._perform(exchange, read, timeout)

    def websocket(
        self,
        path: str,
        talk: Callable[[WebSocket], object],
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
        with_key: bool = True,
    ) -> Exchange:
        """Open a WebSocket, talk, and hang up.

        The status is 101 if it was opened; ``body`` and ``answer`` then have the frames
        as text.

        Args:
            talk: is called with the open WebSocket; its return ends the connection.

        Raises:
            OutOfTimeError: the deadline of all requests has passed.
        """
        sent = {**handshake_headers(), **(headers or {})}
        sent.update(self._authorization(headers, with_key))
        exchange = Exchange("GET", path, sent, b"")
        started = time.monotonic()

        def read(response: http.client.HTTPResponse, opened: DeadlineSocket) -> None:
            if response.status != HTTPStatus.SWITCHING_PROTOCOLS:
                _read(response, exchange, started, None)
                return
            check_handshake(exchange)
            talk(WebSocket(opened, exchange, ANSWER_LIMIT))

        return self._perform(exchange, read, timeout)

    def _authorization(
        self, headers: Mapping[str, str] | None, with_key: bool
    ) -> dict[str, str]:
        """Return the header with the key, unless the caller has one of its own."""
        if self.api_key is None or not with_key or "Authorization" in (headers or {}):
            return {}
        return {"Authorization": f"Bearer {self.api_key}"}

    def _perform(
        self, exchange: Exchange, read: _ReadAnswer, timeout: float | None
    ) -> Exchange:
        self._record.append(exchange)
        now = time.monotonic()
        if now >= self.deadline:
            raise OutOfTimeError
        limit = min(timeout or self.timeout, self.deadline - now)
        try:
            self._exchange(exchange, now + limit, read)
        except (OSError, http.client.HTTPException, ValueError) as error:
            exchange.error = _describe(error, exchange, limit)
        exchange.seconds = time.monotonic() - now
        return exchange

    def _exchange(self, exchange: Exchange, deadline: float, read: _ReadAnswer) -> None:
        try:
            opened = open_socket(self.address, deadline)
        except OSError:
            exchange.is_unreachable = True
            raise
        self._open.add(opened)
        try:
            limited = DeadlineSocket(opened, deadline)
            connection = http_connection(limited, self.address)
            self._send(connection, exchange)
            with connection.getresponse() as response:
                exchange.status = response.status
                exchange.answer_headers = response.getheaders()
                if limited.is_at_end:
                    # http.client takes the end of the connection for that of the head.
                    raise http.client.IncompleteRead(b"")
                read(response, limited)
        finally:
            self._open.discard(opened)
            opened.close()

    def _send(self, connection: http.client.HTTPConnection, exchange: Exchange) -> None:
        path = self.address.prefix + exchange.path
        connection.putrequest(exchange.method, path, skip_accept_encoding=True)
        for name, value in exchange.headers.items():
            connection.putheader(name, value.encode())
        if exchange.body or exchange.method == "POST":
            connection.putheader("Content-Length", str(len(exchange.body)))
        if "Connection" not in exchange.headers:
            connection.putheader("Connection", "close")
        try:
            connection.endheaders(exchange.body or None)
        except (BrokenPipeError, ConnectionResetError):
            # A server may answer, and close, before it has the whole body.
            return


def _read(
    response: http.client.HTTPResponse,
    exchange: Exchange,
    started: float,
    on_part: OnPart | None,
) -> None:
    while part := response.read1(_PART):
        exchange.answer += part
        exchange.arrivals.append((time.monotonic() - started, len(exchange.answer)))
        if on_part is not None and not on_part(exchange):
            exchange.is_hung_up = True
            return
        if len(exchange.answer) > ANSWER_LIMIT:
            exchange.error = f"the answer is longer than {ANSWER_LIMIT} bytes"
            return
    if response.length:
        exchange.error = f"the connection was closed {response.length} bytes too early"


def _describe(error: Exception, exchange: Exchange, limit: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no end within {limit:.3g} s"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if exchange.is_unreachable:
        return f"no connection: {getattr(error, 'strerror', None) or error}"
    if isinstance(error, (http.client.IncompleteRead, ConnectionError)):
        begun = exchange.status is not None
        return f"the connection was closed {'in the middle' if begun else 'at once'}"
    if isinstance(error, http.client.BadStatusLine):
        return f"that is not HTTP: {cut(str(error), 80)}"
    if isinstance(error, WebSocketProtocolError):
        return f"the server breaks the protocol of WebSockets: {error}"
    return f"that is not HTTP: {error}"
