"""Streams from a real server with middleware and formatters to a real client."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from customised import ENDS_BROKEN_STREAMS
from layouts import SUPPORT
from servers import Server, polling

COUNT: Final = 200
SERVED: Final = (
    "nothing",
    "functions everywhere",
    "classes and formatters",
    "output formatter with an iterator",
)
COMMAND: Final = (sys.executable, "-m", "uvicorn", "served_streams:app")

Start = Callable[[], Server]


@pytest.fixture(scope="module", params=SERVED)
def kind(request: pytest.FixtureRequest) -> str:
    """The middleware and formatters around the app."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def marker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the handler writes at the end of a stream."""
    return tmp_path_factory.mktemp("served") / "marker"


@pytest.fixture(scope="module")
def server(kind: str, marker: Path) -> Iterator[Server]:
    env = {"PYTHONPATH": str(SUPPORT), "KIND": kind, "MARKER": str(marker)}
    with Server(COMMAND, env, ready_path="/ping") as server:
        yield server


def streaming(server: Server, **params: Any) -> Any:
    return server.client.stream("POST", "/invocations", params=params)


def ask_for_the_next(server: Server) -> None:
    assert server.client.post("/go").status_code == 200


def has_ended(marker: Path) -> bool:
    for _ in polling(20):
        if marker.exists():
            marker.unlink()
            return True
    return False


def test_stream_arrives_chunk_by_chunk(server: Server, marker: Path) -> None:
    seen = []
    with streaming(server, count=COUNT) as answer:
        assert answer.status_code == 200
        for chunk in answer.iter_raw():
            seen.append(chunk)
            ask_for_the_next(server)
    assert seen == [b"chunk %d" % number for number in range(COUNT)]
    assert has_ended(marker)


def test_handler_sees_disconnect(server: Server, marker: Path) -> None:
    with streaming(server, count=COUNT) as answer:
        chunks = answer.iter_raw()
        assert next(chunks) == b"chunk 0"
        assert not marker.exists()
    # The connection is closed, and no further chunk was requested.
    assert has_ended(marker)


def test_client_sees_error_in_the_middle(
    server: Server, marker: Path, kind: str
) -> None:
    seen = []

    def read() -> None:
        with streaming(server, count=2, fails=True) as answer:
            for chunk in answer.iter_raw():
                seen.append(chunk)
                ask_for_the_next(server)

    if kind in ENDS_BROKEN_STREAMS:
        read()
    else:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            read()
    assert seen == [b"chunk 0", b"chunk 1"]
    assert has_ended(marker)
    assert any("RuntimeError: broken" in server.stderr() for _ in polling(20))
