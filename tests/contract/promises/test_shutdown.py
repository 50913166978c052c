"""SIGTERM during requests: what clients of the server see."""

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

#: The seconds that SageMaker gives a container to stop.
SHUTDOWN_LIMIT_S: Final = 30
TIMEOUT_S: Final = 60
STREAMS: Final = 4


@pytest.mark.parametrize("supervised", [False, True], ids=["alone", "supervised"])
def test_streams_past_drain_deadline_end_with_an_error(
    engine: EngineUnderTest, supervised: bool
) -> None:
    processes = engine.max_processes if supervised else 1
    env = {"MHCS_AUTO": "1", "MHCS_DRAIN_SECONDS": "2"}
    server = engine.serve(env=env, lora=False, processes=processes)
    if supervised:
        server.command.insert(0, SUPERVISOR)
    with server, ThreadPoolExecutor(STREAMS) as threads:
        started: SimpleQueue[str] = SimpleQueue()
        body = {**engine.long_completion(), "stream": True}
        streams = [threads.submit(read, server, body, started) for _ in range(STREAMS)]
        for _ in streams:
            started.get(timeout=TIMEOUT_S)
        signalled_at = time.monotonic()
        os.kill(server.pid, signal.SIGTERM)
        wait_until_unhealthy(server)
        with server.new_client() as client:
            answer = client.post("/invocations", json=engine.long_completion())
        assert answer.status_code == 503
        assert "shutting down" in answer.text
        for stream in streams:
            text = stream.result()
            assert '"code":503' in text.splitlines()[-2]
            assert "[DONE]" not in text
        server.wait(TIMEOUT_S)
        assert time.monotonic() - signalled_at < SHUTDOWN_LIMIT_S


def read(server: Server, body: Mapping[str, Any], started: SimpleQueue[str]) -> str:
    """Return the text of a stream, whose first part is also put into ``started``."""
    with (
        server.new_client() as client,
        client.stream("POST", "/invocations", json=body) as answer,
    ):
        chunks = answer.iter_text()
        text = next(chunks)
        started.put(text)
        return text + "".join(chunks)


def wait_until_unhealthy(server: Server) -> None:
    with server.new_client() as client:
        for _ in polling(20, interval=0.01):
            if client.get("/ping").status_code == 503:
                return
    raise AssertionError("/ping never reports the shutdown.")
