"""standard-supervisor: signals reach the program, and the shutdown ends in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from model_hosting_container_standards.supervisor.program import has_signal_disposition
from servers import Process, polling
from supervised import (
    PATIENCE_S,
    SUPERVISOR,
    WAITS,
    children,
    wait_for,
    wait_until_gone,
)

Run = Callable[..., Process]

#: Notes when it is asked to shut down, but runs until its supervisor is killed. If it
#: has a heartbeat, it does not remove it.
STUBBORN: Final = """
    import os, signal, sys, time
    from pathlib import Path
    from model_hosting_container_standards.processes.heartbeat import WorkerHeartbeat

    def note(*_):
        noted = Path(sys.argv[1])
        noted.exists() or noted.write_text(f"{time.monotonic()} ")

    signal.signal(signal.SIGTERM, note)
    supervisor = os.getppid()
    heartbeat = WorkerHeartbeat(Path(os.environ["MHCS_HEARTBEAT_DIR"]))
    if sys.argv[2] == "heartbeat":
        heartbeat.register()
    print("begun", flush=True)
    while os.getppid() == supervisor:
        if heartbeat.deadline() is not None and sys.argv[2] == "heartbeat":
            note()
        time.sleep(0.01)
    """


#: Notes when it is asked to shut down, and exits.
COOPERATIVE: Final = """
    import signal, sys, time
    from pathlib import Path

    def end(*_):
        Path(sys.argv[1]).write_text("signalled")
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    print("ready", flush=True)
    while True:
        signal.pause()
    """


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Return a function that starts a Python program under the supervisor."""
    started: list[Process] = []

    def begin(source: str, *arguments: Any, **env: str) -> Process:
        (tmp_path / "program.py").write_text(textwrap.dedent(source))
        program = [sys.executable, tmp_path / "program.py", *arguments]
        started.append(Process([SUPERVISOR, *program], env))
        started[-1].start()
        return started[-1]

    yield begin
    for process in started:
        process.close()


def wait_for_line(process: Process, line: str, count: int = 1) -> None:
    for _ in polling(PATIENCE_S, interval=0.01):
        if process.output().count(line) >= count:
            return
    raise AssertionError(f"{line!r} was not printed:\n{process.output()}")


# --- time limits -------------------------------------------------------------------


@pytest.mark.parametrize("heartbeat", ["heartbeat", "none"])
def test_program_is_asked_to_end_at_once(
    run: Run, tmp_path: Path, heartbeat: str
) -> None:
    # The supervisor is killed below, and leaves its folder behind.
    process = run(STUBBORN, tmp_path / "noted", heartbeat, TMPDIR=str(tmp_path))
    # supervisord polls once per second, and has just done so.
    wait_for_line(process, "begun")
    sent = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    noted = float(wait_for(tmp_path / "noted"))
    assert noted - sent < 0.8
    program = children(process.pid)
    process.kill()
    assert len(program) == 1
    wait_until_gone(program[0])


@pytest.mark.parametrize("programs", [1, 2])
def test_program_that_ignores_sigterm_is_killed_in_time(
    run: Run, tmp_path: Path, programs: int
) -> None:
    """One deadline, counted from the signal, applies to all programs together."""
    all_s = 5
    env = {
        "MHCS_DRAIN_SECONDS": "1",
        "SUPERVISOR_PROGRAM__APP_STOPWAITSECS": str(all_s),
    }
    if programs == 2:
        env |= other_program(tmp_path / "program.py", tmp_path / "other", all_s)
    process = run(STUBBORN, tmp_path / "noted", "heartbeat", **env)
    wait_for_line(process, "begun", programs)
    sent = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 128 + signal.SIGKILL
    assert time.monotonic() - sent < all_s


def other_program(source: Path, noted: Path, all_s: int) -> dict[str, str]:
    """Return the variables that configure another program, from ``STUBBORN``."""
    keys = {
        "COMMAND": f"{sys.executable} {source} {noted} none",
        "STDOUT_LOGFILE": "/dev/stdout",
        "STDOUT_LOGFILE_MAXBYTES": "0",
        # Else a log of its own stays when the supervisor is killed.
        "REDIRECT_STDERR": "true",
        "STOPWAITSECS": str(all_s),
    }
    return {f"SUPERVISOR_PROGRAM__OTHER_{key}": value for key, value in keys.items()}


def test_stubborn_program_does_not_use_up_time_of_another(
    run: Run, tmp_path: Path
) -> None:
    stubborn = tmp_path / "stubborn.py"
    stubborn.write_text(textwrap.dedent(STUBBORN))
    env = other_program(stubborn, tmp_path / "other", 3)
    env["SUPERVISOR_PROGRAM__APP_STOPWAITSECS"] = "3"
    process = run(COOPERATIVE, tmp_path / "noted", **env)
    wait_for_line(process, "begun")
    wait_for_line(process, "ready")
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    assert wait_for(tmp_path / "noted") == "signalled"


def test_supervisorctl_stop_lets_program_end(run: Run, tmp_path: Path) -> None:
    socket = tmp_path / "s"
    env = {"SUPERVISOR_UNIX_HTTP_SERVER_FILE": str(socket)}
    process = run(COOPERATIVE, tmp_path / "noted", **env)
    wait_for_line(process, "ready")
    control = Path(sys.executable).with_name("supervisorctl")
    subprocess.run([control, "-s", f"unix://{socket}", "shutdown"], check=True)
    assert process.wait(PATIENCE_S) == 0
    assert wait_for(tmp_path / "noted") == "signalled"


# --- other signals -----------------------------------------------------------------

#: Exits in the run named by its argument; otherwise installs its handler late.
LATE: Final = """
    import os, signal, sys, time
    from pathlib import Path

    def note(*_):
        Path(sys.argv[1]).write_text("signalled")

    if sys.argv[2] == os.environ["MHCS_RESTARTS"]:
        sys.exit(3)
    print("begun", flush=True)
    time.sleep(1.5)  # Longer than the supervisor's poll interval.
    signal.signal(signal.SIGHUP, note)
    while True:
        signal.pause()
    """


@pytest.mark.parametrize(
    ("crashes", "line"), [("0", "exited: app"), ("never", "begun")]
)
def test_sighup_waits_until_program_handles_it(
    run: Run, tmp_path: Path, crashes: str, line: str
) -> None:
    """The signal comes between two starts, or before the handler is installed."""
    process = run(LATE, tmp_path / "noted", crashes, PROCESS_MAX_START_RETRIES="1")
    wait_for_line(process, line)
    os.kill(process.pid, signal.SIGHUP)
    assert wait_for(tmp_path / "noted") == "signalled"
    assert process.output().count("exited: app") == (crashes == "0")


def test_program_without_handler_survives_sighup(run: Run, tmp_path: Path) -> None:
    """As process 1 would, which the kernel protects from signals without a handler."""
    process = run(WAITS, tmp_path / "pid")
    pid = wait_for(tmp_path / "pid")
    os.kill(process.pid, signal.SIGHUP)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert "SIGHUP" not in process.output()
    assert (tmp_path / "pid").read_text() == pid


#: Blocks some signals, and prints a line.
BLOCKS: Final = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {blocked})
print("blocked", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("blocked", "waits"),
    [("{signal.SIGHUP}", False), ("signal.valid_signals()", True), ("()", True)],
    ids=["one", "all", "none"],
)
def test_signal_waits_while_all_are_blocked(blocked: str, waits: bool) -> None:
    """All signals are blocked for a moment while a process starts another."""
    source = BLOCKS.replace("{blocked}", blocked)
    command = [sys.executable, "-c", source]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"blocked\n"
        assert has_signal_disposition(process.pid, signal.SIGHUP) is not waits


# --- environment variables ---------------------------------------------------------

RENAMED: Final = (
    {"SUPERVISOR_PROGRAM__APP_PROCESS_NAME": "llm"},
    {"SUPERVISOR_GROUP__ALL_PROGRAMS": "app"},
    {
        "SUPERVISOR_PROGRAM__APP_PROCESS_NAME": "llm",
        "SUPERVISOR_GROUP__ALL_PROGRAMS": "app",
    },
)


@pytest.mark.parametrize("env", RENAMED, ids=["name", "group", "both"])
def test_program_of_any_name_ends_the_container(run: Run, env: dict[str, str]) -> None:
    process = run("print('done')", **env)
    assert process.wait(PATIENCE_S) == 0
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    process = run(crash, **env, PROCESS_MAX_START_RETRIES="0")
    assert process.wait(PATIENCE_S) == 1


@pytest.mark.parametrize(("key", "value"), [("AUTOSTART", "false"), ("NUMPROCS", "0")])
def test_program_without_autostart_is_an_error(run: Run, key: str, value: str) -> None:
    name = f"SUPERVISOR_PROGRAM__APP_{key}"
    process = run("", **{name: value})
    assert process.wait(PATIENCE_S) == 1
    assert f"{name}={value!r} is not allowed" in process.stderr()


def test_pid_file_is_private(run: Run, tmp_path: Path) -> None:
    process = run(WAITS, tmp_path / "pid", TMPDIR=str(tmp_path))
    wait_for(tmp_path / "pid")
    [file] = tmp_path.glob("mhcs-*/supervisord.pid")
    assert file.stat().st_mode & 0o777 == 0o600
    assert int(file.read_text()) == process.pid
