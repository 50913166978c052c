"""Streams that a server must finish before it exits."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from real import COMPLETION
from servers import Server

#: The seconds that SageMaker gives a container to stop.
SHUTDOWN_LIMIT_S: Final = 30
STREAMS: Final = 8
LONG: Final = {"max_tokens": 200, "ignore_eos": True, "stream": True}


def check_streams_finish(server: Server, pid: int, path: str) -> None:
    """Send SIGTERM to ``pid`` during streams, and check that they are complete."""
    body = {**COMPLETION, **LONG, "stream_options": {"include_usage": True}}
    with ThreadPoolExecutor(STREAMS) as threads:
        streams = [threads.submit(read, server, path, body) for _ in range(STREAMS)]
        first_chunks = [next(stream.result()) for stream in streams]
        os.kill(pid, signal.SIGTERM)
        rests = [threads.submit("".join, stream.result()) for stream in streams]
        for first, rest in zip(first_chunks, rests, strict=True):
            text = first + rest.result()
            assert text.endswith("data: [DONE]\n\n")
            assert '"completion_tokens":200' in text


def read(server: Server, path: str, body: dict[str, Any]) -> Iterator[str]:
    """Return the chunks of a stream, after the first one has arrived."""
    chunks = _chunks(server, path, body)
    first = next(chunks)

    def all_chunks() -> Iterator[str]:
        yield first
        yield from chunks

    return all_chunks()


def _chunks(server: Server, path: str, body: dict[str, Any]) -> Iterator[str]:
    with (
        server.new_client() as client,
        client.stream("POST", path, json=body) as answer,
    ):
        answer.raise_for_status()
        yield from answer.iter_text()
