"""``mhcs check --drain`` on servers that end well, and on ones that do not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest

from check_command import run_check
from mhcs.check.checks import drain
from servers import Server

SUPPORT: Final = str(Path(__file__).parents[1] / "support")
UVICORN: Final = (sys.executable, "-m", "uvicorn", "--log-level=error")
#: A server whose ``/invocations`` is a stream; ON_SIGTERM says how it takes the signal.
SOURCE: Final = """
import asyncio, json, os, signal, sys, threading
import uvicorn
from fastapi import FastAPI, Response, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse

app = FastAPI()
manner = os.environ["ON_SIGTERM"]
ended = False

def on_signal(*_):
    global ended
    ended = True
    if manner == "dies":
        os._exit(0)
    if manner == "lingers":
        threading.Timer(6, os._exit, [0]).start()

@app.get("/ping")
async def ping():
    is_draining = ended and manner in ("accepts", "lingers")
    return Response(status_code=503 if is_draining else 200)

@app.post("/invocations")
async def invocations(body: dict):
    if ended and manner == "lingers":
        await asyncio.sleep(60)
    if not body.get("stream"):
        return JSONResponse({"choices": []})
    return StreamingResponse(events(), media_type="text/event-stream")

async def events():
    for _ in range(200):
        yield "data: {}\\n\\n"
        await asyncio.sleep(0.01)

@app.websocket("/invocations-bidirectional-stream")
async def bidirectional(websocket: WebSocket):
    await websocket.accept()
    if manner == "closes":
        return await websocket.close()
    async for _ in websocket.iter_text():
        pass

class Server(uvicorn.Server):
    def install_signal_handlers(self): ...
    def capture_signals(self):
        import contextlib
        signal.signal(signal.SIGTERM, on_signal)
        return contextlib.nullcontext()

host, port = sys.argv[2], int(sys.argv[4])
Server(uvicorn.Config(app, host=host, port=port, log_level="error")).run()
"""


def test_contract_s_shutdown_passes(tmp_path: Path) -> None:
    env = {
        "ENGINE": str(tmp_path / "engine"),
        "PYTHONPATH": SUPPORT,
        "PACE_S": "0.005",
        "MHCS_DRAIN_SECONDS": "2",
    }
    command = [*UVICORN, "served_container:app"]
    with Server(command, env, ready_path="/ping") as server:
        checked = run_check(server.url, "--only=drain", f"--drain={server.pid}")
        assert checked.named("fail") == [], checked.document
        assert checked.named("pass") == [*checked.results]
        assert "1012" in checked.results["drain-websocket"]["finding"]
        server.wait(10)


def test_stream_that_was_closed_before_the_shutdown_shows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "STOP_LIMIT_S", 1.0)
    source = tmp_path / "server.py"
    source.write_text(SOURCE)
    env = {"ON_SIGTERM": "closes"}
    with Server([sys.executable, source], env, ready_path="/ping") as server:
        checked = run_check(server.url, "--only=drain", f"--drain={server.pid}")
        assert checked.named("skipped") == ["drain-websocket"], checked.document
        server.kill()


@pytest.mark.parametrize(
    ("manner", "failed"),
    [
        ("dies", ["drain-streams", "drain-websocket"]),
        ("accepts", ["drain-requests", "drain-websocket", "drain-end"]),
        ("ignores", ["drain-ping", "drain-websocket", "drain-end"]),
        ("lingers", ["drain-websocket", "drain-end"]),
    ],
)
def test_wrong_shutdown_is_found(
    manner: str, failed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "STOP_LIMIT_S", 3.0)
    source = tmp_path / "server.py"
    source.write_text(SOURCE)
    env = {"ON_SIGTERM": manner}
    with Server([sys.executable, source], env, ready_path="/ping") as server:
        checked = run_check(server.url, "--only=drain", f"--drain={server.pid}")
        assert checked.named("fail") == failed, checked.document
        server.kill()


def test_server_without_streams_may_drain(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [*UVICORN, f"--app-dir={root / 'examples' / 'fastapi_server'}"]
    with Server([*command, "server:app"], ready_path="/ping") as server:
        checked = run_check(server.url, f"--drain={server.pid}")
        assert checked.named("fail") == [], checked.document
        assert "drain-end" in checked.named("pass")
        server.wait(10)
