"""Servers that send any bytes, to see what a client makes of them."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator

from servers import HOST

#: Answers a request, of which only the head has been read: its path, or all of it.
Respond = Callable[[socket.socket, str], None]


class _RawServer(socketserver.ThreadingTCPServer):
    daemon_threads = False
    request_queue_size = 64


def read_path(connection: socket.socket) -> str:
    return read_head(connection).split(" ", 2)[1]


def read_head(connection: socket.socket) -> str:
    head = b""
    while b"\r\n\r\n" not in head:
        received = connection.recv(65536)
        if not received:
            raise ConnectionError("The client has hung up.")
        head += received
    return head.decode("latin-1")


@contextlib.contextmanager
def raw_server(
    respond: Respond, read: Callable[[socket.socket], str] = read_path
) -> Iterator[str]:
    """Serve within the block, and yield the URL.

    Args:
        read: returns what ``respond`` gets.
    """

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            # The client may have hung up, or hang up while it is answered.
            with contextlib.suppress(OSError):
                respond(self.request, read(self.request))

    with _RawServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def wait_for_hang_up(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def answer(
    connection: socket.socket, body: bytes, *headers: str, status: int = 200
) -> None:
    """Send a whole answer."""
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}", *headers]
    head = "\r\n".join([*lines, "Connection: close", "", ""])
    connection.sendall(head.encode("latin-1") + body)
