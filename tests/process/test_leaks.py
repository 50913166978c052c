"""The leak plugin: a run with leaks fails, and the leaks are removed."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

import servers
from model_hosting_container_standards.processes.tree import is_running
from proc import SHARED_MEMORY
from servers import UNMEASURED, Process, polling

SUPPORT: Final = Path(servers.__file__).parent
WAYS: Final = pytest.mark.parametrize(
    "options", [(), ("-p", "xdist", "-n2", "--dist=load")], ids=["alone", "workers"]
)
PATIENCE_S: Final = 60.0
Run = Callable[..., Process]

#: Code of the inner tests: each notes the process that it starts.
START: Final = """
import contextlib, multiprocessing, os, socket, subprocess, sys, tempfile, time
from pathlib import Path

WAIT = '''
import os, signal, socket, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
server = socket.create_server(("127.0.0.1", 0))
name, how = sys.argv[1:]
if how == "orphan" and os.fork():
    os._exit(0)
with open(name, "w") as file:
    file.write(f"{os.getpid()} {server.getsockname()[1]} ")
while True:
    signal.pause()
'''

def start(name, how="child", **options):
    command = [sys.executable, "-c", WAIT, name, how]
    process = subprocess.Popen(command, start_new_session=True, **options)
    while not (os.path.exists(name) and Path(name).read_text().endswith(" ")):
        time.sleep(0.01)
    return process
"""
LEAKY: Final = """
kept = []

def test_process():
    kept.append(start("process"))

def test_orphan():
    start("orphan", "orphan").wait()

def test_without_variables():
    kept.append(start("hidden", env={}))

def test_port():
    kept.append(socket.create_server(("127.0.0.1", 0)))
    Path("port").write_text(str(kept[-1].getsockname()[1]))

def test_folder():
    Path("folder").write_text(tempfile.mkdtemp(prefix="mhcs-"))

def test_shared():
    kept.append(tempfile.NamedTemporaryFile(dir="/dev/shm", delete=False))
    Path("shared").write_text(kept[-1].name)
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Return a function that runs pytest with the plugin; stopped after the test."""
    for name in ("CI", "BUILD_NUMBER"):  # pytest would report each leak twice.
        monkeypatch.delenv(name, raising=False)
    started: list[Process] = []

    def begin(tests: str, *options: str) -> Process:
        (tmp_path / "test_it.py").write_text(START + tests)
        command = [sys.executable, "-m", "pytest", "-p", "leaks", "-rA", *options]
        # Loading other plugins would take longer than these tests.
        plugins = {"PYTHONPATH": str(SUPPORT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        env = {**UNMEASURED, **plugins}
        started.append(Process([*command, "test_it.py"], env, tmp_path))
        started[-1].start()
        return started[-1]

    yield begin
    for process in started:
        process.close()


@WAYS
def test_leaks_are_reported_and_removed(
    run: Run, tmp_path: Path, options: tuple[str, ...]
) -> None:
    process = run(LEAKY, "-o", "leak_grace_seconds=0.1", *options)
    assert process.wait(PATIENCE_S) == 1, process.output()
    assert "6 passed, 1 error" in process.stdout()
    report = process.stdout()
    found = {
        file.name: file.read_text() for file in tmp_path.iterdir() if file.is_file()
    }
    for name in ("process", "orphan", "hidden"):
        pid, port = found[name].split()
        test = f"of test_it.py::test_{name} (call)"
        expected = "of a test, without" if name == "hidden" else test
        [line] = [line for line in report.splitlines() if f"process {pid}, " in line]
        assert f", which listens on {port}, {expected}" in line
        assert not is_running(int(pid))
    assert f"port {found['port']}, on which pytest itself listens" in report
    for name in ("folder", "shared"):
        [line] = [line for line in report.splitlines() if found[name] in line]
        assert f"test_it.py::test_{name}" in line
        assert not Path(found[name]).exists()


CLEAN: Final = """
def test_a_process_that_is_about_to_end():
    subprocess.Popen(["sleep", "1"]).returncode = 0  # No ResourceWarning.

def test_helpers_of_multiprocessing():
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=print)
    process.start()
    process.join()

def test_one_that_waits():
    Path("begun").touch()
    while not Path("go").exists():
        time.sleep(0.01)
"""


@WAYS
def test_other_processes_are_not_reported(
    run: Run, tmp_path: Path, options: tuple[str, ...]
) -> None:
    process = run(CLEAN, *options)
    for _ in polling(PATIENCE_S):
        if (tmp_path / "begun").exists():
            break
    ours = SHARED_MEMORY / f"mhcs-{process.pid}"
    try:
        # Open under a name that is removed, as semaphores are.
        with (made := ours.with_suffix(".new")).open("w"):
            ours.hardlink_to(made)
            made.unlink()
            (tmp_path / "go").touch()
            assert process.wait(PATIENCE_S) == 0, process.output()
            assert ours.exists()
    finally:
        ours.unlink()


def test_files_of_unknown_runs_are_reported_and_kept(run: Run, tmp_path: Path) -> None:
    ours = SHARED_MEMORY / f"mhcs-{uuid.uuid4()}"
    test = f"def test_it():\n    Path({str(ours)!r}).touch()\n"
    try:
        process = run(test, "-o", "leak_grace_seconds=0.1")
        assert process.wait(PATIENCE_S) == 1, process.output()
        [line] = [x for x in process.stdout().splitlines() if x.startswith(str(ours))]
        assert "test_it.py::test_it, kept" in line
        assert ours.exists()
    finally:
        ours.unlink(missing_ok=True)


def test_leaks_are_removed_after_interrupt(run: Run, tmp_path: Path) -> None:
    interrupted = "def test_it():\n    start('process')\n    raise KeyboardInterrupt\n"
    assert run(interrupted).wait(PATIENCE_S) == 2
    pid, _ = (tmp_path / "process").read_text().split()
    assert not is_running(int(pid))
