"""``--num_serve_frontends K``: one launcher, and K - 1 that attach to its worker.

They run the same command line, with the worker's address in
``TLLM_EXECUTOR_ATTACH_INFO``. Each reports over a pipe when it is built; the launcher
serves once all are. They share the port by ``SO_REUSEPORT``.

What only the launcher has, the others ask for over its Unix socket: statistics, by the
path of the request.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import Response

from standins.trtllm_common import facts
from standins.trtllm_common.child import environment_without_mpi
from standins.trtllm_common.llm import ATTACH_INFO, LLM

_READY_FD = "TLLM_FRONTEND_READY_FD"
_FOLDER = "TLLM_EXECUTOR_IPC_DIR"


def is_attached() -> bool:
    return ATTACH_INFO in os.environ


def launcher_socket() -> socket.socket:
    """Bind the launcher's Unix socket, and name it to the other front ends."""
    os.environ[_FOLDER] = tempfile.mkdtemp()
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(_launcher_path()))
    return sock


def _launcher_path() -> Path:
    return Path(os.environ[_FOLDER], "launcher.sock")


def forward_statistics(app: FastAPI) -> None:
    """In another front end, have the launcher answer; comes before its own routes."""
    if _FOLDER not in os.environ:
        return

    async def forward(request: Request) -> Response:
        transport = httpx.AsyncHTTPTransport(uds=str(_launcher_path()))
        async with httpx.AsyncClient(transport=transport) as client:
            answer = await client.get(f"http://launcher{request.url.path}")
        media_type = answer.headers["content-type"]
        return Response(answer.content, answer.status_code, media_type=media_type)

    app.add_api_route("/metrics", forward, methods=["GET"])


def spawn_attached(llm: LLM, count: int) -> list[subprocess.Popen[bytes]]:
    """Start the other front ends, and wait until they are built."""
    facts.role = "launcher"
    attach = json.dumps({"address": llm._executor.address})
    children, pipes = [], []
    for number in range(1, count):
        read_fd, write_fd = os.pipe()
        children.append(_spawn(number, attach, write_fd))
        os.close(write_fd)
        pipes.append(read_fd)
    _wait_until_ready(pipes)
    return children


def _spawn(number: int, attach: str, ready_fd: int) -> subprocess.Popen[bytes]:
    env = {
        **environment_without_mpi(),
        ATTACH_INFO: attach,
        "TLLM_EXECUTOR_FRONTEND_ID": str(number),
        "TLLM_DISABLE_MPI": "1",
        _READY_FD: str(ready_fd),
    }
    # The pipe to standard input is closed when the launcher exits.
    return subprocess.Popen(
        [sys.executable, *sys.argv],
        env=env,
        stdin=subprocess.PIPE,
        pass_fds=(ready_fd,),
    )


def _wait_until_ready(pipes: list[int]) -> None:
    for pipe in pipes:
        if os.read(pipe, 1) != b"R":
            raise RuntimeError("An attached frontend exited before signaling READY")
        os.close(pipe)


def say_ready() -> None:
    """Report to the launcher that this front end is built; exit when it exits."""
    facts.role = "attached"
    pipe = int(os.environ.pop(_READY_FD))
    os.write(pipe, b"R")
    os.close(pipe)
    threading.Thread(target=_end_with_launcher, daemon=True).start()


def _end_with_launcher() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def terminate(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
    for child in children:
        child.wait()
