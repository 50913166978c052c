"""Hung servers and dead engines, with and without the supervisor."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import httpx
import pytest

from model_hosting_container_standards.processes.heartbeat import (
    Condition,
    HeartbeatDirectory,
    WorkerHeartbeat,
)
from model_hosting_container_standards.processes.tree import cpu_seconds
from model_hosting_container_standards.settings import Settings
from model_hosting_container_standards.supervisor import watchdog
from servers import Server, polling
from supervised import SUPERVISOR

#: Its engine hangs while the file ``hangs`` exists, and is dead while ``dead`` does.
APP: Final = """
import asyncio
import os
import time
from pathlib import Path

from fastapi import FastAPI

import model_hosting_container_standards.engines.registry as engine_registry
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.engines.runtime import EngineRuntime
from model_hosting_container_standards.exceptions import EngineUnhealthyError
from mhcs.vllm.engine import VLLM

hangs = Path(os.environ["HANGS"])
dead = hangs.with_name("dead")
begun = hangs.with_name("begun")


class Engine(VLLM):
    def owns(self, app):
        return True

    def start(self, app):
        return Running(app)


class Running(EngineRuntime):
    async def check(self):
        if dead.exists() and dead.read_text() == str(os.getpid()):
            keeps_server = "KEEPS" in os.environ
            raise EngineUnhealthyError("It is dead.", keeps_server=keeps_server)
        while hangs.exists():
            await asyncio.sleep(0.01)

engine_registry.installed_engines = lambda: iter([Engine()])
app = FastAPI()


@app.get("/health")
async def health():
    return os.getpid()


@app.post("/invocations")
async def invocations():
    begun.touch()
    await asyncio.Event().wait()


@app.post("/computes")
async def computes():
    while not begun.exists():
        pass


@app.post("/waits")
async def waits():
    while not begun.exists():
        time.sleep(0.1)


sagemaker.bootstrap(app)
"""


@pytest.fixture
def hangs(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path / "hangs"


def serve(hangs: Path, supervised: bool = True, **env: str) -> Server:
    supervisor = [SUPERVISOR]
    uvicorn = [sys.executable, "-m", "uvicorn", "app:app"]
    env = {
        "HANGS": str(hangs),
        "SAGEMAKER_MODEL_PATH": str(hangs.parent / "none"),
        "MHCS_PING_STALL_SECONDS": "1",
        **env,
    }
    return Server([*supervisor[: int(supervised)], *uvicorn], env, hangs.parent)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def begin(
    server: Server, threads: ThreadPoolExecutor, path: str = "/invocations"
) -> Future[httpx.Response]:
    """Send a request in a thread, and return its future response."""

    def ask() -> httpx.Response:
        with server.new_client() as client:
            return client.post(path)

    return threads.submit(ask)


def wait_until_begun(hangs: Path) -> None:
    for _ in polling(30):
        if hangs.with_name("begun").exists():
            return
    raise AssertionError("The request did not reach the handler.")


def kill_engine(server: Server, hangs: Path) -> int:
    """Make the server's engine dead, and return the id of the server's process."""
    pid: int = server.client.get("/health").json()
    hangs.with_name("dead").write_text(str(pid))
    return pid


def wait_for_another(server: Server, first: int) -> None:
    for _ in polling(30):
        server.wait_until_ready()
        # The first process may exit between the two requests.
        with contextlib.suppress(httpx.TransportError):
            if server.client.get("/health").json() != first:
                return
    raise AssertionError("The server was not restarted.")


def test_server_with_hung_engine_is_restarted(hangs: Path) -> None:
    with serve(hangs, MHCS_RESTART_ON_HANG="1") as server:
        first = server.client.get("/health").json()
        hangs.touch()
        for _ in polling(30):
            if "is hung: restarting" in server.output():
                break
        hangs.unlink()
        wait_for_another(server, first)
        assert server.client.get("/ping").status_code == 200


def test_unresponsive_server_is_restarted(hangs: Path) -> None:
    with serve(hangs, MHCS_RESTART_ON_HANG="1") as server:
        first = server.client.get("/health").json()
        os.kill(first, signal.SIGSTOP)
        wait_for_another(server, first)


def test_paused_container_is_not_restarted(hangs: Path) -> None:
    with serve(hangs, MHCS_RESTART_ON_HANG="1") as server:
        first = server.client.get("/health").json()
        processes = [first, server.pid]
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        # Longer than MHCS_PING_STALL_SECONDS, and than the gap between two checks that
        # the supervisor takes for a pause.
        time.sleep(6)
        for pid in reversed(processes):
            os.kill(pid, signal.SIGCONT)
        for _ in range(20):
            assert server.client.get("/health").json() == first
            time.sleep(0.1)


def test_supervisor_ends_program_if_its_folder_is_deleted(
    hangs: Path, tmp_path: Path
) -> None:
    """The heartbeat folder is deleted, as when the temporary folder is cleared."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with serve(hangs, MHCS_RESTART_ON_HANG="1", TMPDIR=str(temporary)) as server:
        first = server.client.get("/health").json()
        shutil.rmtree(temporary)
        os.kill(server.pid, signal.SIGTERM)
        assert server.wait(20) == 128 + signal.SIGTERM
        assert not Path(f"/proc/{first}").exists()


def test_hung_server_is_not_restarted_if_disabled(hangs: Path) -> None:
    with serve(hangs) as server:
        first = server.client.get("/health").json()
        hangs.touch()
        for _ in polling(30):
            if server.client.get("/ping").status_code == 503:
                break
        hangs.unlink()
        for _ in polling(30):
            if server.client.get("/ping").status_code == 200:
                break
        assert server.client.get("/health").json() == first


# --- busy processes ----------------------------------------------------------------


def test_busy_process_is_not_restarted(
    hangs: Path, threads: ThreadPoolExecutor
) -> None:
    """Such as one that compiles a client's schema, and blocks the event loop."""
    with serve(hangs, MHCS_RESTART_ON_HANG="1") as server:
        first = server.client.get("/health").json()
        answer = begin(server, threads, "/computes")
        # Longer than the second within which a heartbeat is due.
        for _ in polling(60):
            if cpu_seconds(first) > 8:
                break
        hangs.with_name("begun").touch()
        assert answer.result().status_code == 200
        assert server.client.get("/health").json() == first


def test_blocked_process_is_restarted(hangs: Path, threads: ThreadPoolExecutor) -> None:
    with serve(hangs, MHCS_RESTART_ON_HANG="1") as server:
        first = server.client.get("/health").json()
        answer = begin(server, threads, "/waits")
        assert isinstance(answer.exception(), httpx.TransportError)
        wait_for_another(server, first)


# --- dead engines ------------------------------------------------------------------


def test_dead_engine_is_restarted_even_if_hang_detection_is_off(
    hangs: Path, threads: ThreadPoolExecutor
) -> None:
    with serve(hangs, MHCS_RESTART_ON_HANG="0") as server:
        answer = begin(server, threads)
        wait_until_begun(hangs)
        first = kill_engine(server, hangs)
        # The client gets a response before the connection closes.
        assert answer.result().status_code == 503
        wait_for_another(server, first)
        assert server.client.get("/ping").status_code == 200


def test_unsupervised_server_ends_with_its_engine(
    hangs: Path, threads: ThreadPoolExecutor
) -> None:
    """The exit lets a process manager restart the server."""
    with serve(hangs, supervised=False) as server:
        answer = begin(server, threads)
        wait_until_begun(hangs)
        kill_engine(server, hangs)
        assert "It is dead." in server.client.get("/ping").text
        assert answer.result().status_code == 503
        assert server.wait(20) == -signal.SIGTERM


def test_server_without_recovery_ends_with_its_engine(hangs: Path) -> None:
    with serve(hangs, PROCESS_AUTO_RECOVERY="false") as server:
        kill_engine(server, hangs)
        assert server.client.get("/ping").status_code == 503
        assert server.wait(20) == -signal.SIGTERM


def test_server_can_be_configured_to_outlive_its_engine(hangs: Path) -> None:
    with serve(hangs, supervised=False, KEEPS="1") as server:
        pid = kill_engine(server, hangs)
        assert server.client.get("/ping").status_code == 503
        assert server.client.get("/health").json() == pid


def test_shutdown_does_not_wait_for_dead_engine(
    hangs: Path, threads: ThreadPoolExecutor
) -> None:
    with serve(hangs, supervised=False) as server:
        answer = begin(server, threads)
        wait_until_begun(hangs)
        pid = kill_engine(server, hangs)
        os.kill(pid, signal.SIGTERM)
        assert answer.result().status_code == 503
        assert server.wait(20) == -signal.SIGTERM


def test_engine_death_ends_the_drain(hangs: Path, threads: ThreadPoolExecutor) -> None:
    with serve(hangs, supervised=False) as server:
        answer = begin(server, threads)
        wait_until_begun(hangs)
        os.kill(server.pid, signal.SIGTERM)
        for _ in polling(30):
            if server.client.get("/ping").status_code == 503:
                break
        kill_engine(server, hangs)
        assert answer.result().status_code == 503
        assert server.wait(20) == -signal.SIGTERM


@pytest.fixture
def heartbeat(tmp_path: Path) -> Iterator[WorkerHeartbeat]:
    heartbeat = WorkerHeartbeat(tmp_path)
    heartbeat.register()
    yield heartbeat
    heartbeat.deregister()


@pytest.mark.parametrize("kills_hung", ["true", "false"])
def test_server_that_does_not_end_with_its_engine_is_killed(
    tmp_path: Path,
    heartbeat: WorkerHeartbeat,
    monkeypatch: pytest.MonkeyPatch,
    kills_hung: str,
) -> None:
    settings = Settings({"MHCS_RESTART_ON_HANG": kills_hung})
    checker = watchdog.Watchdog(HeartbeatDirectory(tmp_path), settings)
    heartbeat.report(Condition.DEAD)
    assert checker.restart_reason() is None
    for name in ("DEATH_S", "LAST_WORD_S"):
        monkeypatch.setattr(watchdog, name, -1.0)
    assert "is dead" in (checker.restart_reason() or "")
    # A recovered engine that dies again gets the full time.
    heartbeat.report(Condition.WELL)
    assert checker.restart_reason() is None
    monkeypatch.undo()
    heartbeat.report(Condition.DEAD)
    assert checker.restart_reason() is None


@pytest.mark.parametrize("kills_hung", [True, False])
def test_hung_engine_is_restarted_if_enabled(
    tmp_path: Path, heartbeat: WorkerHeartbeat, kills_hung: bool
) -> None:
    settings = Settings({"MHCS_RESTART_ON_HANG": str(kills_hung)})
    checker = watchdog.Watchdog(HeartbeatDirectory(tmp_path), settings)
    heartbeat.report(Condition.HUNG)
    assert bool(checker.restart_reason()) is kills_hung


def test_dead_engine_takes_precedence_over_hung_engine(
    tmp_path: Path, heartbeat: WorkerHeartbeat
) -> None:
    heartbeats = HeartbeatDirectory(tmp_path)
    heartbeat.report(Condition.DEAD)
    other = tmp_path / str(os.getppid())
    other.write_bytes((tmp_path / str(os.getpid())).read_bytes())
    heartbeat.report(Condition.HUNG)
    problem = heartbeats.problem(60)
    assert problem is not None
    assert problem.condition is Condition.DEAD
