"""A minimal HTTP client connection to a local server."""

from __future__ import annotations

import re
import socket
import time
from typing import Final

from traffic import Case

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_END: Final = b"\r\n\r\n"
_SECONDS: Final = 10
_NANOSECONDS: Final = 1000


class Connection:
    """One kept-alive HTTP/1.1 connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def measure(self, case: Case, requests: int) -> float:
        """Send requests one after the other; return the microseconds each took."""
        start = time.perf_counter_ns()
        for _ in range(requests):
            self.ask(case.wire)
        return (time.perf_counter_ns() - start) / requests / _NANOSECONDS

    def close(self) -> None:
        self._socket.close()

    def ask(self, wire: bytes) -> None:
        """Send a request, and receive its response.

        Raises:
            ConnectionError: the response is not 200, or the server closed.
        """
        self._socket.sendall(wire)
        answer = self._socket.recv(65536)
        while _END not in answer or len(answer) < _total(answer):
            received = self._socket.recv(65536)
            if not received:
                raise ConnectionError(f"The server closed after {answer!r}")
            answer += received
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"The server answered {answer!r}")


def _total(answer: bytes) -> int:
    """Return the length of the complete response, given its head."""
    head, _, _ = answer.partition(_END)
    found = _LENGTH.search(head)
    return len(head) + len(_END) + (int(found[1]) if found else 0)
