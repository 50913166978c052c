"""The end of a server that is answering: SIGTERM, and what its clients see of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Final

import pytest

from servers import Server, polling
from supervised import SUPERVISOR

from .engines import EngineUnderTest

#: Of what SageMaker gives a container to end, in seconds.
ENDS_S: Final = 30
PATIENCE_S: Final = 60
STREAMS: Final = 4


@pytest.mark.parametrize("supervised", [False, True], ids=["alone", "supervised"])
def test_streams_past_drain_deadline_end_with_an_error(
    engine: EngineUnderTest, supervised: bool
) -> None:
    processes = engine.most_processes if supervised else 1
    env = {"MHCS_AUTO": "1", "MHCS_DRAIN_SECONDS": "2"}
    server = engine.serve(env=env, lora=False, processes=processes)
    if supervised:
        server.command.insert(0, SUPERVISOR)
    with server, ThreadPoolExecutor(STREAMS) as threads:
        begun: SimpleQueue[str] = SimpleQueue()
        body = {**engine.endless(), "stream": True}
        streams = [threads.submit(read, server, body, begun) for _ in range(STREAMS)]
        for _ in streams:
            begun.get(timeout=PATIENCE_S)
        told_at = time.monotonic()
        os.kill(server.pid, signal.SIGTERM)
        wait_until_unwell(server)
        with server.new_client() as client:
            answer = client.post("/invocations", json=engine.endless())
        assert answer.status_code == 503
        assert "shutting down" in answer.text
        for stream in streams:
            text = stream.result()
            assert '"code":503' in text.splitlines()[-2]
            assert "[DONE]" not in text
        server.wait(PATIENCE_S)
        assert time.monotonic() - told_at < ENDS_S


def read(server: Server, body: Mapping[str, Any], begun: SimpleQueue[str]) -> str:
    """Return a stream's text, and say when it has begun."""
    with (
        server.new_client() as client,
        client.stream("POST", "/invocations", json=body) as answer,
    ):
        chunks = answer.iter_text()
        text = next(chunks)
        begun.put(text)
        return text + "".join(chunks)


def wait_until_unwell(server: Server) -> None:
    with server.new_client() as client:
        for _ in polling(20, interval=0.01):
            if client.get("/ping").status_code == 503:
                return
    raise AssertionError("It never says that it is shutting down.")
