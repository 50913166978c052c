"""A start that fails ends the server at once, although its warm-up still runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from mhcs.sglang.failed_start import STATUS
from mhcs.sglang.hooks import SERVER_MODULE

#: A module that is laid out as SGLang's is. Its lifespan waits for a warm-up that tries
#: for minutes to reach the server, which never starts.
SERVER: Final = """
import signal
import sys
import threading
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace

import requests
import uvicorn
from fastapi import FastAPI


def warm_up():
    for _ in range(120):
        time.sleep(1)
        try:
            requests.get("http://127.0.0.1:9/", timeout=1)
        except requests.exceptions.RequestException:
            pass


@asynccontextmanager
async def lifespan(app):
    thread = threading.Thread(target=warm_up)
    thread.start()
    try:
        yield
    finally:
        thread.join()


app = FastAPI(lifespan=lifespan)


def get_global_state():
    raise RuntimeError("The engine's state is missing.")


def launch_server(server_args):
    if server_args.tokenizer_worker_num == 1:
        app.is_single_tokenizer_mode = True
        uvicorn.Server(uvicorn.Config(app, port=0)).run()
    else:
        uvicorn.run(f"{__name__}:app", workers=2, port=0)


if __name__ == "__main__":
    from sglang.srt.entrypoints import http_server

    workers = int(sys.argv[1])
    http_server.launch_server(SimpleNamespace(tokenizer_worker_num=workers))
"""
#: Seconds; the warm-up alone takes twice as long.
TIMEOUT_S: Final = 120


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    file = tmp_path.joinpath(*SERVER_MODULE.split(".")).with_suffix(".py")
    file.parent.mkdir(parents=True)
    for package in (file.parent, *file.parent.parents):
        if package != tmp_path and tmp_path in package.parents:
            (package / "__init__.py").touch()
    file.write_text(SERVER)
    return tmp_path


@pytest.mark.parametrize("workers", [1, 2])
def test_failed_start_ends_the_server(folder: Path, workers: int) -> None:
    command = [sys.executable, "-m", SERVER_MODULE, str(workers)]
    env = {**os.environ, "MHCS_AUTO": "1", "PYTHONPATH": str(folder)}
    ended = subprocess.run(
        command, env=env, timeout=TIMEOUT_S, capture_output=True, text=True, check=False
    )
    assert ended.returncode == STATUS, ended.stderr
    assert "The engine's state is missing." in ended.stderr
