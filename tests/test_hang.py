"""A server that hangs, under the supervisor."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from servers import Server, polling

#: Its engine hangs as long as there is a file.
APP: Final = """
import asyncio
import os
from pathlib import Path

from fastapi import FastAPI

import model_hosting_container_standards.engine as engine_module
from model_hosting_container_standards import sagemaker
from mhcs.vllm.engine import VLLM

hangs = Path(os.environ["HANGS"])


class Engine(VLLM):
    def owns(self, app):
        return True

    async def check(self, app):
        while hangs.exists():
            await asyncio.sleep(0.01)


engine_module.installed_engines = lambda: iter([Engine()])
app = FastAPI()


@app.get("/health")
async def health():
    return os.getpid()


sagemaker.bootstrap(app)
"""


@pytest.fixture
def hangs(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path / "hangs"


def serve(hangs: Path, **env: str) -> Server:
    supervisor = Path(sys.executable).with_name("standard-supervisor")
    uvicorn = [sys.executable, "-m", "uvicorn", "app:app"]
    env = {
        "HANGS": str(hangs),
        "SAGEMAKER_MODEL_PATH": str(hangs.parent / "none"),
        "MHCS_PING_STALL_SECONDS": "1",
        **env,
    }
    return Server([supervisor, *uvicorn], env, hangs.parent)


def wait_for_another(server: Server, first: int) -> None:
    for _ in polling(30):
        server.wait_until_ready()
        if server.client.get("/health").json() != first:
            return
    raise AssertionError("Nothing is restarted.")


def test_a_server_whose_engine_hangs_is_restarted(hangs: Path) -> None:
    with serve(hangs, MHCS_RESTART_ON_HANG="1") as server:
        first = server.client.get("/health").json()
        hangs.touch()
        for _ in polling(30):
            if "is hung: restarting" in server.output():
                break
        hangs.unlink()
        wait_for_another(server, first)
        assert server.client.get("/ping").status_code == 200


def test_a_server_that_does_nothing_at_all_is_restarted(hangs: Path) -> None:
    with serve(hangs, MHCS_RESTART_ON_HANG="1") as server:
        first = server.client.get("/health").json()
        os.kill(first, signal.SIGSTOP)
        wait_for_another(server, first)


def test_a_container_that_stood_still_is_not_restarted(hangs: Path) -> None:
    with serve(hangs, MHCS_RESTART_ON_HANG="1") as server:
        first = server.client.get("/health").json()
        processes = [first, server.pid]
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        # There is nothing to wait for: time has to pass. More than the second of
        # MHCS_PING_STALL_SECONDS, and than the supervisor takes for a pause.
        time.sleep(6)
        for pid in reversed(processes):
            os.kill(pid, signal.SIGCONT)
        for _ in range(20):
            assert server.client.get("/health").json() == first
            time.sleep(0.1)


def test_a_supervisor_without_its_folder_ends_its_program(
    hangs: Path, tmp_path: Path
) -> None:
    """As where somebody clears the temporary folder."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with serve(hangs, MHCS_RESTART_ON_HANG="1", TMPDIR=str(temporary)) as server:
        first = server.client.get("/health").json()
        shutil.rmtree(temporary)
        os.kill(server.pid, signal.SIGTERM)
        assert server.wait(20) == 128 + signal.SIGTERM
        assert not Path(f"/proc/{first}").exists()


def test_nothing_is_restarted_that_nobody_wants_restarted(hangs: Path) -> None:
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
