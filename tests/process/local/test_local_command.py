"""The process of ``mhcs local``: its options, its command, and its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import httpx
import pytest
from typer.testing import CliRunner

from layouts import LAYOUTS, SERVE, environment_of
from local_endpoint import CONTAINER, PATIENCE_S, LocalEndpoint, do, error_of
from mhcs import cli
from mhcs.local import lifecycle
from mhcs.local.command import ContainerCommand
from mhcs.local.components import Components
from mhcs.local.container import Container
from mhcs.local.endpoint import Endpoint
from mhcs.local.lifecycle import Lifecycle
from mhcs.local.limits import Limits
from model_hosting_container_standards.processes.tree import descendants
from servers import HOST, Process, free_port, polling, run_until_exit
from supervised import MHCS, wait_for, wait_until_gone

#: Writes its process id, and starts a child that ignores SIGTERM.
STUBBORN: Final = """
import os, signal, subprocess, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
Path(sys.argv[1]).write_text(f"{os.getpid()} {child.pid} ")
time.sleep(3600)
"""


def run(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Run ``mhcs local``; return its exit status and standard error."""
    port = str(free_port())
    end = run_until_exit(
        [MHCS, "local", "--port", port, *arguments], env, timeout=PATIENCE_S
    )
    return end.status, end.stderr


# --- the command -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status"),
    [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 15)", 143)],
)
def test_exit_status_is_that_of_the_command(code: str, status: int) -> None:
    assert run("--", sys.executable, "-c", code)[0] == status


@pytest.mark.parametrize(("command", "status"), [("no-such-command", 127), ("/", 126)])
def test_exit_status_of_other_commands_is_as_in_a_shell(
    command: str, status: int
) -> None:
    end, message = run("--", command)
    assert end == status
    assert f"mhcs local: {command}: " in message


def test_command_gets_its_arguments_and_the_port(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['SAGEMAKER_BIND_TO_PORT'], sys.argv[1:])"
    command = [sys.executable, "-c", code, "--help", "--", "a b"]
    container = ["--container", "http://127.0.0.1:8123"]
    end = run_until_exit([MHCS, "local", "--port", "0", *container, "--", *command])
    assert end.stdout == "8123 ['--help', '--', 'a b']\n"


def test_engine_listens_on_the_port(tmp_path: Path) -> None:
    """An engine's own command does not read SAGEMAKER_BIND_TO_PORT."""
    vllm = tmp_path / "vllm"
    vllm.write_text('#!/bin/sh\necho "$@"\n')
    vllm.chmod(0o755)
    for arguments, added in (
        (["serve", "MODEL"], " --port 8123"),
        (["serve", "--port=8000"], ""),
    ):
        command = [str(vllm), *arguments]
        options = ["--port", "0", "--container", "http://127.0.0.1:8123"]
        end = run_until_exit([MHCS, "local", *options, "--", *command])
        assert end.stdout == f"{' '.join(arguments)}{added}\n"


def test_vllm_is_served_by_its_own_command(tmp_path: Path) -> None:
    """On a stand-in for vLLM: mhcs local -- vllm serve MODEL."""
    env = environment_of(LAYOUTS[-1])
    with LocalEndpoint(tmp_path, command=SERVE, env=env) as endpoint:
        response = endpoint.invoke(
            json.dumps({"prompt": "hello"}), ContentType="application/json"
        )
        assert json.loads(response["Body"])["text"] == "hello"
        error = error_of(
            endpoint.invoke,
            json.dumps({"model": "other", "prompt": "hello"}),
            ContentType="application/json",
        )
        assert error["OriginalStatusCode"] == 404


def test_sigterm_is_passed_to_the_command(tmp_path: Path) -> None:
    """It answers what it has, and its exit status is that of mhcs local."""
    with LocalEndpoint(tmp_path) as endpoint:
        response = endpoint.stream(do("stream", then="wait", name="drained"))
        endpoint.wait_for("drained-waiting")
        os.kill(endpoint.pid, signal.SIGTERM)
        endpoint.release("drained")
        events = [event["PayloadPart"]["Bytes"] for event in response["Body"]]
        assert events == [b"data: first\n\n", b"data: last\n\n"]
        assert endpoint.wait(PATIENCE_S) in (0, 143)
        assert not descendants(endpoint.pid)


def test_second_signal_kills_the_command(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = [sys.executable, "-c", STUBBORN, str(pids)]
    process = Process([MHCS, "local", "--port", "0", "--", *command])
    process.start()
    parent, child = map(int, wait_for(pids).split())
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 137
    for pid in (parent, child):
        wait_until_gone(pid)
    process.close()


async def test_signal_while_the_command_is_started_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class InterruptedStart(ContainerCommand):
        @classmethod
        async def start(cls, command: Sequence[str], port: int) -> ContainerCommand:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.05)  # The loop handles it.
            return await super().start(command, port)

    monkeypatch.setattr(lifecycle, "ContainerCommand", InterruptedStart)
    container = Container("http://127.0.0.1:1")
    reports: list[str] = []
    endpoint = Endpoint(container, Components(()), Limits(), None, reports.append)
    sleep = [sys.executable, "-c", "import time; time.sleep(3600)"]
    running = Lifecycle(endpoint, "http://unused", sleep, 8080, reports.append).run()
    assert await asyncio.wait_for(running, PATIENCE_S) == 143
    await endpoint.aclose()


async def test_command_is_killed_if_it_does_not_end(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ignores = f"trap '' TERM; echo yes > {ready}; while :; do sleep 0.1; done"
    command = await ContainerCommand.start(["sh", "-c", ignores], 8080)
    wait_for(ready)
    command.terminate(grace_s=0.1)
    assert await command.wait() == 137


def test_closed_terminal_ends_the_command(tmp_path: Path) -> None:
    with LocalEndpoint(tmp_path) as endpoint:
        os.kill(endpoint.pid, signal.SIGHUP)
        endpoint.wait(PATIENCE_S)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://{HOST}:{endpoint.container_port}/ping")


def test_unhealthy_command_is_ended(tmp_path: Path) -> None:
    (tmp_path / "ping").write_text("500")
    options = ("--startup-timeout", "3")
    with LocalEndpoint(tmp_path, *options, is_ready=False) as endpoint:
        assert endpoint.wait(PATIENCE_S) == 1
        assert "has to be 200 within 3 s" in endpoint.stderr()


def test_container_that_runs_already_is_left_alone(tmp_path: Path) -> None:
    with LocalEndpoint(tmp_path) as first:
        container = f"http://{HOST}:{first.container_port}/"
        with LocalEndpoint(tmp_path, "--container", container, command=()) as second:
            assert second.invoke(b"hello")["Body"] == b"hello"
            os.kill(second.pid, signal.SIGINT)
            assert second.wait(PATIENCE_S) == 0
        assert first.invoke(b"hello")["Body"] == b"hello"


# --- the options -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--timeout", "61"], "--timeout 61 is longer than SageMaker's 60 s"),
        (["--stream-timeout", "481"], "longer than SageMaker's 480 s"),
        (["--startup-timeout", "3601"], "longer than SageMaker's 3600 s"),
        (["--timeout", "0"], "--timeout 0 is not allowed"),
        (["--timeout", "nan"], "--timeout nan is not allowed"),
        (["--container", "localhost:8080"], "give one like http://127.0.0.1:8080"),
        (["--container", "http://127.0.0.1:8080/invocations"], "is not allowed"),
        (["--container", "http://127.0.0.1:99999"], "is not allowed"),
        (["--port", "8080"], "cannot both have port 8080"),
    ],
)
def test_bad_option_is_an_error(arguments: list[str], reason: str) -> None:
    end = CliRunner().invoke(cli.app, ["local", *arguments])
    assert end.exit_code == 1
    assert reason in end.output


def test_bad_port_of_the_environment_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SAGEMAKER_BIND_TO_PORT", "http")
    end = CliRunner().invoke(cli.app, ["local"])
    assert end.exit_code == 1
    assert "SAGEMAKER_BIND_TO_PORT='http' is not allowed" in end.output


def test_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, message = run("--s3-folder", str(tmp_path / "file" / "s3"))
    assert status == 1
    assert "mhcs local: [Errno 20] Not a directory" in message


def test_longer_times_need_an_option(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ""]
    assert run("--timeout", "61", "--beyond-limits", "--", *command)[0] == 0


def test_used_port_is_an_error(tmp_path: Path) -> None:
    with LocalEndpoint(tmp_path) as endpoint:
        end = run_until_exit([MHCS, "local", "--port", str(endpoint.port)])
        assert end.status == 1
        assert f"cannot listen on {HOST}:{endpoint.port}: Address already" in end.stderr


def test_endpoint_takes_a_free_port_and_names_it(tmp_path: Path) -> None:
    env = {
        "FOLDER": str(tmp_path),
        "SAGEMAKER_ADAPTERS_PATH": str(tmp_path / "adapters"),
        "SAGEMAKER_BIND_TO_PORT": str(free_port()),
    }
    command = [MHCS, "local", "--host", "::1", "--port", "0", "--", *CONTAINER]
    process = Process(command, env)
    process.start()
    for _ in polling(PATIENCE_S):
        if "endpoint_url=http://[::1]:" in process.stderr():
            break
    else:
        raise AssertionError(process.stderr())
    process.close()


def test_missing_packages_are_named(tmp_path: Path) -> None:
    # A package that Python finds no more.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['uvicorn'] = None\n"
    )
    status, message = run(env={"PYTHONPATH": str(tmp_path)})
    assert status == 1
    assert "uvicorn missing here: install an engine, or pip install" in message
    assert "model-hosting-container-standards[local]" in message
