"""Shutdown of the launcher of several API servers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from servers import TIMEOUT_S, polling

#: Like vLLM's launcher: starts servers, and waits for them with its own handler.
LAUNCHER: Final = """
import os, signal, subprocess, sys, time
from pathlib import Path

import mhcs.vllm.launcher as ours

SERVER = '''
import sys, time
from pathlib import Path
from model_hosting_container_standards.processes.heartbeat import WorkerHeartbeat

heartbeat = WorkerHeartbeat(Path(sys.argv[1]))
heartbeat.register()
Path("ready").touch()
while heartbeat.deadline() is None:
    time.sleep(0.01)
Path("shutting_down").touch()
while not Path("finished").exists():
    time.sleep(0.01)
heartbeat.deregister()
'''


def end(*_):
    Path("ended").write_text(str(Path("finished").exists()))
    raise SystemExit


def wait():
    while True:
        time.sleep(1)


def launch():
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    folder = os.environ["MHCS_HEARTBEAT_DIR"]
    server = subprocess.Popen([sys.executable, "-c", SERVER, folder])
    try:
        ours.wait_gracefully(wait, None, (), {})
    finally:
        server.kill()
        server.wait()


ours.with_heartbeats(launch, None, (), {})
"""


@contextlib.contextmanager
def launched(folder: Path, seconds: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start a launcher whose servers have ``seconds`` to drain."""
    (folder / "launcher.py").write_text(LAUNCHER)
    env = {**os.environ, "MHCS_DRAIN_SECONDS": str(seconds)}
    command = [sys.executable, "launcher.py"]
    with subprocess.Popen(command, cwd=folder, env=env) as launcher:
        wait_for_file(folder / "ready")
        yield launcher
        assert launcher.wait(TIMEOUT_S) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("seconds", [30, 0])
def test_servers_finish_before_launcher_ends(
    tmp_path: Path, seconds: int, number: signal.Signals
) -> None:
    with launched(tmp_path, seconds) as launcher:
        launcher.send_signal(number)
        wait_for_file(tmp_path / "shutting_down")
        launcher.send_signal(signal.SIGTERM)
        if seconds:
            (tmp_path / "finished").touch()
    # The launcher's own handler is called afterwards, or at the deadline.
    assert (tmp_path / "ended").read_text() == str(bool(seconds))


def test_second_interrupt_exits_at_once(tmp_path: Path) -> None:
    with launched(tmp_path, 30) as launcher:
        launcher.send_signal(signal.SIGINT)
        wait_for_file(tmp_path / "shutting_down")
        launcher.send_signal(signal.SIGINT)
    assert (tmp_path / "ended").read_text() == "False"


def wait_for_file(file: Path) -> None:
    for _ in polling(TIMEOUT_S, interval=0.01):
        if file.exists():
            return
    raise AssertionError(f"{file.name} was not created.")
