"""Sessions of a server with several processes, across kills and restarts."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import httpx
import pytest

from servers import Server, polling
from session_client import ask, begin, close, count, database, not_found, refusal

#: Stores the posted values in the session; answers with all values and its process.
APP: Final = """
import os

from fastapi import FastAPI, Request

from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.sagemaker.sessions.manager import (
    get_session_manager,
)

app = FastAPI()


@app.get("/health")
async def health():
    return "up"


@sagemaker.register_invocation_handler
def invocations(raw_request: Request, values: dict[str, int]):
    header = raw_request.headers.get("X-Amzn-SageMaker-Session-Id")
    session = get_session_manager().get_session(header) if header else None
    for key, value in values.items():
        session.put(key, value)
    found = {key: session.get(key) for key in "ab"} if session else {}
    return {"process": os.getpid(), **found}


sagemaker.bootstrap(app)
"""
THREADS: Final = 8
SESSIONS: Final = 100
ROUNDS: Final = 10


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The folder of a module ``app``."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "app.py").write_text(APP)
    return tmp_path / "code"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


def serve(app: Path, folder: Path, workers: int = 1) -> Server:
    uvicorn = [sys.executable, "-m", "uvicorn", "app:app", "--log-level=warning"]
    command = [*uvicorn, f"--workers={workers}"]
    return Server(command, environment(app, folder), app)


def environment(app: Path, folder: Path) -> dict[str, str]:
    return {
        "SAGEMAKER_ENABLE_STATEFUL_SESSIONS": "true",
        "SAGEMAKER_SESSIONS_PATH": str(folder),
        "SAGEMAKER_MODEL_PATH": str(app / "nothing"),
    }


def processes(client: httpx.Client, expected: int) -> set[int]:
    """Wait until the expected number of processes answer, and return their ids."""
    found: set[int] = set()
    for _ in polling(30, interval=0.01):
        found.add(client.post("/invocations", json={}).json()["process"])
        if len(found) == expected:
            return found
    raise AssertionError(f"Only {found} answer.")


@pytest.mark.parametrize("workers", [2, 4])
def test_no_session_request_is_lost(app: Path, folder: Path, workers: int) -> None:
    """Every process sees at once what another has stored."""
    with serve(app, folder, workers) as server, server.new_client() as client:
        processes(client, workers)

        def converse(_: int) -> tuple[str, set[int]]:
            session_id, seen = begin(client), set()
            for turn in range(ROUNDS):
                if turn:
                    found = ask(client, session_id).json()
                    assert found["a"] == turn - 1
                    seen.add(found["process"])
                found = ask(client, session_id, {"a": turn}).json()
                assert found["a"] == turn
                seen.add(found["process"])
            return session_id, seen

        with ThreadPoolExecutor(THREADS) as threads:
            ids, seen = zip(*threads.map(converse, range(SESSIONS)), strict=True)
            assert len(set(ids)) == SESSIONS
            assert len(set().union(*seen)) == workers
            # Sessions that one process has closed are closed in all.
            for session_id in ids[::2]:
                assert close(client, session_id).status_code == 200
            answers = [*threads.map(lambda one: ask(client, one), ids)]
        assert [answer.status_code for answer in answers] == [400, 200] * (
            SESSIONS // 2
        )


def test_killed_process_loses_no_session(app: Path, folder: Path) -> None:
    with serve(app, folder, workers=2) as server, server.new_client() as client:
        before = processes(client, 2)
        victim = min(before)
        ids = [begin(client) for _ in range(20)]
        stop, killed = threading.Event(), threading.Event()
        answered = itertools.count()

        def converse(session_id: str) -> int:
            """Store values until stopped; return the last one that was confirmed."""
            confirmed = -1
            for turn in itertools.count():
                if stop.is_set():
                    return confirmed
                try:
                    answer = ask(client, session_id, {"a": turn})
                except httpx.TransportError:
                    # The connection was to the killed process.
                    assert killed.is_set()
                    continue
                assert answer.status_code == 200, answer.text
                assert answer.json()["a"] == turn
                confirmed = turn
                next(answered)
            raise AssertionError("The loop only ends when it is stopped.")

        with ThreadPoolExecutor(len(ids)) as threads:
            conversations = [threads.submit(converse, session_id) for session_id in ids]
            try:
                wait_until_counted(answered, 100)
                killed.set()
                os.kill(victim, signal.SIGKILL)
                wait_until_counted(answered, 200)
            finally:
                stop.set()
            confirmed = [one.result() for one in conversations]
        assert min(confirmed) >= 0
        for session_id, turn in zip(ids, confirmed, strict=True):
            # A request without a response may have stored its value.
            assert ask(client, session_id).json()["a"] >= turn
            assert close(client, session_id).status_code == 200
            assert refusal(ask(client, session_id)) == not_found(session_id)


def wait_until_counted(counter: Iterator[int], more: int) -> None:
    """Wait until ``more`` further requests were counted."""
    enough = next(counter) + more
    for _ in polling(30):
        if next(counter) >= enough:
            return
    raise AssertionError("The requests are no longer answered.")


@pytest.mark.parametrize("graceful", [True, False])
def test_sessions_survive_server_restart(
    app: Path, folder: Path, graceful: bool
) -> None:
    with serve(app, folder) as server:
        live, expired, closed = (begin(server.client) for _ in range(3))
        for session_id in (live, expired, closed):
            ask(server.client, session_id, {"a": 1, "b": 2})
        close(server.client, closed)
        if not graceful:
            server.kill()
    expire(folder, expired)
    with serve(app, folder) as server:
        found = ask(server.client, live).json()
        assert (found["a"], found["b"]) == (1, 2)
        for session_id in (expired, closed):
            assert refusal(ask(server.client, session_id)) == not_found(session_id)
            assert refusal(close(server.client, session_id)) == not_found(session_id)
        assert close(server.client, live).status_code == 200


def expire(folder: Path, session_id: str) -> None:
    """Make a session expire while no server runs."""
    with contextlib.closing(sqlite3.connect(database(folder))) as connection:
        connection.execute("UPDATE sessions SET expires=1 WHERE id=?", [session_id])
        connection.commit()


#: Forks after the app was made, so that both processes serve it.
FORKING: Final = """
import os
import socket
import sys

import uvicorn

from app import app

listening = socket.create_server(("127.0.0.1", int(sys.argv[4])))
os.fork()
uvicorn.run(app, fd=listening.fileno(), log_level="warning")
"""


def test_forked_processes_share_sessions(app: Path, folder: Path) -> None:
    (app / "forking.py").write_text(FORKING)
    command = [sys.executable, "forking.py"]
    with (
        Server(command, environment(app, folder), app) as server,
        server.new_client() as client,
    ):
        processes(client, 2)
        seen = set()
        for turn in range(100):
            session_id = begin(client)
            ask(client, session_id, {"a": turn})
            found = ask(client, session_id).json()
            assert found["a"] == turn
            seen.add(found["process"])
            assert close(client, session_id).status_code == 200
            assert ask(client, session_id).status_code == 400
        assert len(seen) == 2
        assert count(folder) == 0
