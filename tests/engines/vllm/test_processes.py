"""Recognition of vLLM's engine processes by title or parent."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mhcs.vllm.processes import engine_processes
from model_hosting_container_standards.processes.tree import descendants
from other_process import Other
from servers import polling

WAITS = "import sys; sys.stdin.read()"


@pytest.fixture(autouse=True)
def _only_new_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out servers that earlier tests of this process share: some are vLLMs."""
    before = {*descendants(os.getpid())}
    monkeypatch.setattr(
        "mhcs.vllm.processes.descendants",
        lambda pid: [each for each in descendants(pid) if each not in before],
    )


@pytest.fixture
def child() -> Iterator[Callable[..., int]]:
    """Return a function that starts a process with a title; it ends with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*title: str) -> int:
        command = [sys.executable, "-c", WAITS, *title]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        return started[-1].pid

    yield begin
    for process in started:
        process.communicate()


def test_all_children_count_before_titles_are_set(child: Callable[..., int]) -> None:
    pid = child()
    assert pid in engine_processes()
    assert os.getpid() not in engine_processes()


def test_engine_processes_are_recognised_by_title(child: Callable[..., int]) -> None:
    core, worker, other = child("VLLM::EngineCore"), child("VLLM::Worker_TP0"), child()
    assert {core, worker} <= {*engine_processes()}
    assert other not in engine_processes()


def start_engine(file: Path) -> None:
    command = [sys.executable, "-c", WAITS, "VLLM::EngineCore_DP0"]
    engine = subprocess.Popen(command, stdin=subprocess.PIPE)
    file.write_text(f"{os.getpid()} {engine.pid}")


def find_engine(file: Path) -> None:
    server, engine = map(int, file.read_text().split())
    found = engine_processes()
    assert engine in found
    assert not {server, os.getpid(), os.getppid()} & {*found}


def test_engine_is_a_sibling_of_one_of_several_servers(
    start: Callable[..., Other], tmp_path: Path
) -> None:
    engine = start(start_engine, tmp_path / "pids")
    engine.wait_until_done()
    start(find_engine, tmp_path / "pids").wait_until_done()
    pid = int((tmp_path / "pids").read_text().split()[1])
    engine.kill()
    for _ in polling(10):
        if not Path(f"/proc/{pid}").exists():
            return
    raise AssertionError("The engine survived its server.")
