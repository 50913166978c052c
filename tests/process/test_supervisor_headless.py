"""standard-supervisor: a node of vLLM without an HTTP server (``--headless``)."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from model_hosting_container_standards.processes.heartbeat import HeartbeatDirectory
from servers import Process
from supervised import PATIENCE_S, SUPERVISOR, wait_for

#: Records its start, and ends: by itself, or by SIGTERM if its argument says so.
PROGRAM: Final = """#!{python}
import signal, sys
from pathlib import Path
folder = Path({folder!r})
with open(folder / "starts", "a") as file:
    file.write("x")
if "--waits" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    (folder / "ready").write_text("x")
    while True:
        signal.pause()
"""
DRAIN_S: Final = 2
Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a program called ``vllm`` under the supervisor."""
    program = tmp_path / "vllm"
    program.write_text(PROGRAM.format(python=sys.executable, folder=str(tmp_path)))
    program.chmod(0o755)
    started: list[Process] = []

    def begin(*arguments: str, **env: str) -> Process:
        command = [SUPERVISOR, str(program), "serve", "MODEL", *arguments]
        started.append(Process(command, env))
        started[-1].start()
        return started[-1]

    yield begin
    for process in started:
        process.close()


@pytest.mark.parametrize(
    ("arguments", "status", "starts"),
    [
        pytest.param(["--headless"], 1, 2, id="headless"),
        pytest.param([], 0, 1, id="a server"),
    ],
)
def test_headless_node_that_ends_by_itself_has_crashed(
    start: Start, tmp_path: Path, arguments: list[str], status: int, starts: int
) -> None:
    """With any status: vLLM's is 0 when the node's engine has died."""
    process = start(*arguments, PROCESS_MAX_START_RETRIES="1")
    assert process.wait(PATIENCE_S) == status
    assert (tmp_path / "starts").read_text() == "x" * starts


def test_headless_node_runs_while_requests_may_run(
    start: Start, tmp_path: Path
) -> None:
    """SIGTERM reaches all nodes at once, but only one knows of running requests."""
    process = start("--headless", "--waits", MHCS_DRAIN_SECONDS=str(DRAIN_S))
    wait_for(tmp_path / "ready")
    asked_at = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    assert time.monotonic() - asked_at >= DRAIN_S
    assert (tmp_path / "starts").read_text() == "x"


def test_sigint_ends_headless_node_at_once(start: Start, tmp_path: Path) -> None:
    process = start("--headless", "--waits", MHCS_DRAIN_SECONDS="600")
    wait_for(tmp_path / "ready")
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0


def test_program_without_heartbeats_is_not_hung(tmp_path: Path) -> None:
    assert HeartbeatDirectory(tmp_path).problem(stall_s=0) is None
