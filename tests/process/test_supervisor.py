"""standard-supervisor: restarts, retries, signals and cleanup."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from model_hosting_container_standards.processes.tree import is_running
from servers import Process, polling, run_until_exit
from supervised import (
    ANY_PROCESS,
    PATIENCE_S,
    PROCESS_1,
    SUPERVISOR,
    WAITS,
    Gate,
    children,
    supervisor_of,
    wait_for,
)

Start = Callable[..., Process]


@pytest.fixture
def before() -> list[str]:
    """The command in front of the supervisor's."""
    return []


@pytest.fixture
def start(before: list[str]) -> Iterator[Start]:
    """Return a function that starts a Python program under the supervisor."""
    started: list[Process] = []

    def begin(source: str, *arguments: Any, **env: str) -> Process:
        program = [sys.executable, "-c", textwrap.dedent(source), *arguments]
        started.append(Process([*before, SUPERVISOR, *program], env))
        started[-1].start()
        return started[-1]

    yield begin
    for process in started:
        process.close()


# --- restarts ----------------------------------------------------------------------


def test_crashed_program_is_restarted(start: Start, tmp_path: Path) -> None:
    process = start(
        """
        import os, signal, sys
        from pathlib import Path
        with open(sys.argv[1], "a") as file:
            file.write(f"{os.getpid()} {os.environ['MHCS_RESTARTS']}\\n")
        if len(Path(sys.argv[1]).read_text().splitlines()) < 3:
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path / "pids",
    )
    assert process.wait(PATIENCE_S) == 0
    lines = (tmp_path / "pids").read_text().splitlines()
    pids, restarts = zip(*(line.split() for line in lines), strict=True)
    assert len({*pids}) == 3
    assert restarts == ("0", "1", "2")


@pytest.mark.parametrize("retries", [0, 1])
def test_program_that_keeps_crashing_is_given_up(
    start: Start, tmp_path: Path, retries: int
) -> None:
    source = "import sys; open(sys.argv[1], 'a').write('x'); sys.exit(3)"
    runs = tmp_path / "runs"
    process = start(source, runs, PROCESS_MAX_START_RETRIES=str(retries))
    assert process.wait(PATIENCE_S) == 1
    assert runs.read_text() == "x" * (1 + retries)
    assert "app is given up" in process.output()


def test_program_that_exits_cleanly_is_not_restarted(start: Start) -> None:
    process = start("print('done')")
    assert process.wait(PATIENCE_S) == 0
    assert process.stdout().count("done\n") == 1


@pytest.mark.parametrize(
    ("command", "status"),
    [("no-such-command", 127), ("/etc/passwd", 126), ("", 126)],
)
def test_command_that_cannot_run_is_not_retried(command: str, status: int) -> None:
    end = run_until_exit([SUPERVISOR, command])
    assert end.status == status
    assert f"standard-supervisor: {command}: " in end.stderr


def test_help_is_printed() -> None:
    end = run_until_exit([SUPERVISOR, "--help"])
    assert (end.status, end.stdout[:26]) == (0, "usage: standard-supervisor")


def test_configuration_path_that_is_a_folder_is_an_error(tmp_path: Path) -> None:
    end = run_until_exit(
        [SUPERVISOR, "true"], {"SUPERVISOR_CONFIG_PATH": str(tmp_path)}
    )
    assert end.status == 1
    assert f"Is a directory: '{tmp_path}'" in end.stderr


def test_missing_command_is_an_error() -> None:
    end = run_until_exit([SUPERVISOR])
    assert (end.status, end.stderr[:6]) == (2, "usage:")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROCESS_MAX_START_RETRIES", "-1"),
        ("PROCESS_MAX_START_RETRIES", "many"),
        ("PROCESS_AUTO_RECOVERY", "perhaps"),
        ("SUPERVISOR_CONFIG_PATH", "/no/such/folder/supervisord.conf"),
    ],
)
def test_bad_value_is_named(name: str, value: str) -> None:
    end = run_until_exit([SUPERVISOR, "true"], {name: value})
    assert end.status == 1
    assert f"{name}={value!r} is not allowed" in end.stderr


def test_bad_name_is_named() -> None:
    end = run_until_exit([SUPERVISOR, "true"], {"SUPERVISOR_PROGRAM__APP_NOTHING": "1"})
    assert end.status == 1
    assert "SUPERVISOR_PROGRAM__APP_NOTHING is not allowed" in end.stderr


def test_command_is_executed_directly_without_recovery(
    start: Start, tmp_path: Path
) -> None:
    process = start(WAITS, tmp_path / "pid", PROCESS_AUTO_RECOVERY="false")
    assert int(wait_for(tmp_path / "pid")) == process.pid
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(PATIENCE_S) == -signal.SIGTERM


# --- signals -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "status"),
    [("sys.exit(0)", 0), ("sys.exit(7)", 7), ("os.abort()", 128 + signal.SIGABRT)],
)
def test_sigterm_is_handled_by_program(
    start: Start, tmp_path: Path, answer: str, status: int
) -> None:
    process = start(
        f"""
        import os, signal, sys
        from pathlib import Path
        def end(*_):
            {answer}
        signal.signal(signal.SIGTERM, end)
        Path(sys.argv[1]).write_text("ready")
        while True:
            signal.pause()
        """,
        tmp_path / "ready",
    )
    wait_for(tmp_path / "ready")
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(PATIENCE_S) == status


def test_death_by_sigterm_is_the_exit_status(start: Start, tmp_path: Path) -> None:
    process = start(WAITS, tmp_path / "pid")
    pid = int(wait_for(tmp_path / "pid"))
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert not is_running(pid)


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_other_signals_reach_program(start: Start, tmp_path: Path, name: str) -> None:
    process = start(
        """
        import signal, sys
        from pathlib import Path
        def note(*_):
            Path(sys.argv[2]).write_text("signalled")
        signal.signal(getattr(signal, sys.argv[3]), note)
        Path(sys.argv[1]).write_text("ready")
        while True:
            signal.pause()
        """,
        tmp_path / "ready",
        tmp_path / "noted",
        name,
    )
    wait_for(tmp_path / "ready")
    os.kill(process.pid, signal.Signals[name])
    assert wait_for(tmp_path / "noted") == "signalled"
    assert process.status() is None


@pytest.mark.parametrize("before", [ANY_PROCESS, PROCESS_1])
@pytest.mark.parametrize("delay", [None, 0.0, 0.1, 0.2, 0.4, 0.8, 1.0, 1.2])
def test_sigterm_is_handled_at_any_time(
    start: Start, tmp_path: Path, before: list[str], delay: float | None
) -> None:
    """A delay of None is before its imports; earlier, Python itself still starts."""
    gate = Gate(tmp_path)
    process = start(WAITS, tmp_path / "pid", **gate.env)
    with gate.reached():
        supervisor = supervisor_of(process)
        if delay is None:
            os.kill(supervisor, signal.SIGTERM)
    if delay is not None:
        for _ in polling(delay, interval=0.01):
            pass
        os.kill(supervisor, signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM
    if not before and (tmp_path / "pid").exists():
        assert not is_running(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("before", [ANY_PROCESS, PROCESS_1])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT"])
def test_signal_before_command_prevents_it_from_running(
    start: Start, tmp_path: Path, name: str
) -> None:
    gate = Gate(tmp_path)
    env = {"PROCESS_AUTO_RECOVERY": "false", **gate.env}
    process = start(WAITS, tmp_path / "pid", **env)
    with gate.reached():
        os.kill(supervisor_of(process), signal.Signals[name])
    assert process.wait(10) == 128 + signal.Signals[name]
    assert not (tmp_path / "pid").exists()


@pytest.mark.parametrize("before", [["nohup"]])
def test_ignored_signal_does_not_prevent_command(start: Start, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    env = {"PROCESS_AUTO_RECOVERY": "false", **gate.env}
    process = start(WAITS, tmp_path / "pid", **env)
    with gate.reached():
        os.kill(process.pid, signal.SIGHUP)
    assert int(wait_for(tmp_path / "pid")) == process.pid


def test_signal_between_restarts_ends_supervisor(start: Start) -> None:
    process = start("raise SystemExit(3)", PROCESS_MAX_START_RETRIES="1000")
    for _ in polling(PATIENCE_S):
        if process.output().count("exited: app") >= 2:
            break
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM


# --- cleanup -----------------------------------------------------------------------

#: Starts a worker in its own session, and then executes ``then``.
WITH_WORKER: Final = """
    import os, signal, subprocess, sys, time
    from pathlib import Path
    worker = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    with open(sys.argv[1], "a") as file:
        file.write(f"{{worker.pid}} ")
    {then}
    """


def test_workers_of_crashed_program_end_before_restart(
    start: Start, tmp_path: Path
) -> None:
    crash = "os.kill(os.getpid(), signal.SIGKILL)"
    env = {"PROCESS_MAX_START_RETRIES": "1"}
    process = start(WITH_WORKER.format(then=crash), tmp_path / "pids", **env)
    assert process.wait(PATIENCE_S) == 1
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert not any(is_running(pid) for pid in pids)


def test_workers_of_ended_program_are_killed(start: Start, tmp_path: Path) -> None:
    process = start(WITH_WORKER.format(then="signal.pause()"), tmp_path / "pids")
    pid = int(wait_for(tmp_path / "pids"))
    os.kill(process.pid, signal.SIGTERM)
    process.wait(PATIENCE_S)
    assert not is_running(pid)


def test_surviving_workers_get_the_programs_stop_time(
    start: Start, tmp_path: Path
) -> None:
    stubborn = "signal.pause()"
    source = WITH_WORKER.replace('["sleep", "1000"]', "STUBBORN").format(then=stubborn)
    worker = "trap '' TERM; while :; do sleep 1; done"
    source = source.replace("STUBBORN", repr(["sh", "-c", worker]))
    env = {"SUPERVISOR_PROGRAM__APP_STOPWAITSECS": "1"}
    process = start(source, tmp_path / "pids", **env)
    pid = int(wait_for(tmp_path / "pids"))
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(15) == 128 + signal.SIGTERM
    assert not is_running(pid)


def test_files_are_private_and_removed_afterwards(start: Start, tmp_path: Path) -> None:
    process = start(WAITS, tmp_path / "pid", TMPDIR=str(tmp_path))
    wait_for(tmp_path / "pid")
    [folder] = tmp_path.glob("mhcs-*")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.name for file in folder.iterdir()} == {
        "servers",
        "supervisord.conf",
        "supervisord.pid",
    }
    assert (folder / "supervisord.conf").stat().st_mode & 0o777 == 0o600
    os.kill(process.pid, signal.SIGTERM)
    process.wait(PATIENCE_S)
    assert not folder.exists()


def test_configuration_path_can_be_set(tmp_path: Path) -> None:
    config = tmp_path / "supervisord.conf"
    end = run_until_exit([SUPERVISOR, "true"], {"SUPERVISOR_CONFIG_PATH": str(config)})
    assert end.status == 0
    assert "command = true" in config.read_text()
    assert config.stat().st_mode & 0o777 == 0o600


def test_supervisor_does_not_need_path() -> None:
    end = run_until_exit([SUPERVISOR, "/bin/echo", "a b"], {"PATH": "/usr/bin:/bin"})
    assert end.status == 0, end.stderr
    assert "a b\n" in end.stdout


# --- as process 1 ------------------------------------------------------------------


@pytest.mark.parametrize("before", [PROCESS_1])
def test_process_1_reaps_orphans_and_ends(start: Start, tmp_path: Path) -> None:
    process = start(
        """
        import os, signal, sys
        from pathlib import Path
        for _ in range(5):
            if os.fork() == 0:
                if os.fork() == 0:
                    os._exit(0)  # An orphan: process 1 becomes its parent.
                os._exit(0)
            os.wait()
        Path(sys.argv[1]).write_text(f"{os.getppid()} ")
        while True:
            signal.pause()
        """,
        tmp_path / "ready",
    )
    assert wait_for(tmp_path / "ready") == "1 "
    first = supervisor_of(process)
    for _ in polling(PATIENCE_S):
        if len(children(first)) == 1:
            break
    assert len(children(first)) == 1
    os.kill(first, signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
