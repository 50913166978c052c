"""The engine aborts a request when its client disconnects."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping

import pytest

from servers import HOST, Server, polling

from .engines import EngineUnderTest, Load


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", ["/invocations", "/v1/completions"])
def test_disconnect_aborts_request_on_unchanged_server(
    server: Server, engine: EngineUnderTest, path: str, stream: bool
) -> None:
    check_disconnect(server, engine, path, stream=stream)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_disconnect_aborts_request_on_customised_server(
    customised_server: Server, engine: EngineUnderTest, stream: bool
) -> None:
    check_disconnect(customised_server, engine, "/v1/completions", stream=stream)


def check_disconnect(
    server: Server,
    engine: EngineUnderTest,
    path: str,
    *,
    stream: bool = False,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Disconnect during a request, and check that the engine aborts it."""
    before = load_of(engine, server)
    content = json.dumps({**engine.long_completion(), "stream": stream}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n"
    )
    lines = "".join(f"{k}: {v}\r\n" for k, v in (headers or {}).items())
    with socket.create_connection((HOST, server.port)) as connection:
        connection.sendall(f"{head}{lines}\r\n".encode() + content)
        for _ in polling(30):
            if load_of(engine, server).running > before.running:
                break
        else:
            raise AssertionError("The engine never started the request.")
    for _ in polling(30):
        if load_of(engine, server) == before:
            break
    assert load_of(engine, server) == before


def load_of(engine: EngineUnderTest, server: Server) -> Load:
    load = engine.load(server)
    if load is None:
        pytest.skip(f"{engine.name} does not report its load")
    return load
