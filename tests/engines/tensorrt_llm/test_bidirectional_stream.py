"""Bidirectional streams on TensorRT-LLM, which has no WebSocket of its own."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, Final

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from trtllm import RELEASES, TrtllmServer, trtllm

SCRIPT: Final = """
from model_hosting_container_standards import sagemaker


@sagemaker.stream
async def stream(websocket):
    await websocket.accept()
    model = websocket.app.state.openai_server.model
    async for text in websocket.iter_text():
        await websocket.send_text(f"{model}: {text}")
"""


def stream(server: TrtllmServer) -> Any:
    url = f"ws://127.0.0.1:{server.port}/invocations-bidirectional-stream"
    return connect(url, proxy=None)


# The first one, and those whose app is wrapped before and after its start.
@pytest.mark.parametrize("release", [RELEASES[0], *RELEASES[-2:]])
def test_handler_talks_until_shutdown(release: str, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(SCRIPT)
    env = {"SAGEMAKER_MODEL_PATH": str(tmp_path), "MHCS_DRAIN_SECONDS": "1"}
    with trtllm(release, env=env) as server, stream(server) as websocket:
        websocket.send("hello")
        assert websocket.recv(10) == "standin: hello"
        os.kill(server.pid, signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        server.wait(20)


def test_server_without_handler_refuses() -> None:
    with trtllm(RELEASES[-2], env={"MHCS_AUTO": "1"}) as server:
        with pytest.raises(InvalidStatus) as refused, stream(server):
            pass
        assert refused.value.response.status_code == 404
        assert b"@sagemaker.stream" in refused.value.response.body
