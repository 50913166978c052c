"""Every way in which this package reaches a real SGLang."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import pytest

from engine_metrics import SGLANG
from metrics_page import scrape
from mhcs.sglang.failed_start import STATUS
from model_hosting_container_standards.processes.tree import descendants
from promises.requests import ask, text_of
from real import tiny_model
from servers import Server, free_port, polling, serve_until_exit
from sglang_server import (
    CPU_OPTIONS,
    PYTHON,
    RELEASE,
    START_TIMEOUT_S,
    RealSGLang,
    SGLangServer,
    requires_sglang,
    serve,
)

pytestmark = requires_sglang

MODEL_OPTIONS = ("--served-model-name=tiny", *CPU_OPTIONS)
SCRIPT = """
import mhcs.auto
import sys
from sglang.srt.entrypoints.http_server import launch_server
from sglang.srt.server_args import prepare_server_args

if __name__ == "__main__":
    launch_server(prepare_server_args(sys.argv[1:]))
"""


def command(start: Sequence[str | Path], env: Mapping[str, str]) -> Server:
    """Return a server that starts with these words."""
    server = SGLangServer(env=env, port=None)
    port = ("--host=127.0.0.1", f"--port={server.port}")
    model = f"--model-path={tiny_model()}"
    server.command = [*map(str, start), model, *MODEL_OPTIONS, *port]
    return server


def check(server: Server, engine: RealSGLang) -> None:
    """Check that the server answers by this package."""
    assert server.client.get("/adapters").status_code in (200, 400)
    assert server.client.post("/ping").status_code == 200
    assert text_of(ask(server.client, engine)) == text_of(
        ask(server.client, engine, "/v1/completions")
    )


@pytest.mark.skipif(RELEASE < (0, 5, 11), reason="SGLang has plugins since 0.5.11")
def test_plugin_needs_no_variable(engine: RealSGLang) -> None:
    with serve(lora=False) as server:
        check(server, engine)


def test_variable_is_enough_without_the_plugin(engine: RealSGLang) -> None:
    env = {"MHCS_AUTO": "1", "SGLANG_PLUGINS": "none"}
    with serve(env=env, lora=False, processes=2) as server:
        check(server, engine)


def test_mhcs_run_starts_the_command(engine: RealSGLang) -> None:
    mhcs, launch = PYTHON.with_name("mhcs"), "sglang.launch_server"
    start: list[str | Path] = [mhcs, "run", "--", PYTHON, "-m", launch]
    with command(start, {"SGLANG_PLUGINS": "none"}) as server:
        check(server, engine)


def test_script_imports_auto(engine: RealSGLang, tmp_path: Path) -> None:
    script = tmp_path / "serve.py"
    script.write_text(SCRIPT)
    with command([PYTHON, script], {"SGLANG_PLUGINS": "none"}) as server:
        check(server, engine)


@pytest.mark.skipif(RELEASE < (0, 5, 11), reason="SGLang has plugins since 0.5.11")
def test_disabled_engine_is_left_alone() -> None:
    with serve(env={"MHCS_DISABLE": "sglang"}, lora=False) as server:
        assert server.client.get("/adapters").status_code == 404


def test_key_guards_all_but_ping(engine: RealSGLang) -> None:
    env = {"MHCS_AUTO": "1"}
    with serve("--api-key=secret", env=env, lora=False) as server:
        assert server.client.get("/ping").status_code == 200
        assert ask(server.client, engine).status_code == 401
        server.client.headers["Authorization"] = "Bearer secret"
        assert text_of(ask(server.client, engine))


def test_own_key_lets_the_server_start(engine: RealSGLang) -> None:
    env = {"MHCS_AUTO": "1", "MHCS_API_KEY": "ours"}
    with serve("--enable-metrics", env=env, lora=False) as server:
        assert server.client.get("/ping").status_code == 200
        assert ask(server.client, engine).status_code == 401
        server.client.headers["Authorization"] = "Bearer ours"
        assert text_of(ask(server.client, engine))
        names = scrape(server.client).names()
        assert {"sagemaker_requests_total", *SGLANG} <= names


@pytest.mark.parametrize("processes", [1, 2])
def test_start_that_fails_ends_the_server(tmp_path: Path, processes: int) -> None:
    folder = tmp_path / "file" / "below"
    folder.parent.touch()
    env = {"MHCS_AUTO": "1", "SAGEMAKER_ADAPTERS_PATH": str(folder)}
    server = serve(env=env, processes=processes)
    end = serve_until_exit(server.command[:-4], server.env, timeout=server.timeout)
    server.client.close()
    server.close()
    assert end.status == STATUS
    assert "SAGEMAKER_ADAPTERS_PATH" in end.stderr
    # SGLang's warm-up, which tries for two minutes, did not have to give up.
    assert "warmup error" not in end.stderr


def test_mhcs_serve_restarts_a_dead_engine(engine: RealSGLang, tmp_path: Path) -> None:
    port = free_port()
    env = {
        "MHCS_PING_STALL_SECONDS": "4",
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_MODEL_PATH": str(tmp_path),
        "SM_SGLANG_MODEL": tiny_model(),
        "SM_SGLANG_SERVED_MODEL_NAME": "tiny",
        # What CPU_OPTIONS have.
        "SM_SGLANG_ATTENTION_BACKEND": "torch_native",
        "SM_SGLANG_DEVICE": "cpu",
        "SM_SGLANG_DISABLE_OVERLAP_SCHEDULE": "true",
        "SM_SGLANG_MAX_TOTAL_TOKENS": "4096",
        "SM_SGLANG_MEM_FRACTION_STATIC": "0.1",
        "SM_SGLANG_SAMPLING_BACKEND": "pytorch",
        "SM_SGLANG_SLEEP_ON_IDLE": "true",
    }
    server = SGLangServer(env=env, port=port)
    server.command = [str(PYTHON.with_name("mhcs")), "serve"]
    with server:
        check(server, engine)
        for number in (signal.SIGKILL, signal.SIGSTOP):
            pid = scheduler(server)
            os.kill(pid, number)
            for _ in polling(START_TIMEOUT_S, interval=0.5):
                if not Path(f"/proc/{pid}").exists():
                    break
            wait_until_healthy(server)
            assert text_of(ask(server.client, engine))


def scheduler(server: Server) -> int:
    for pid in descendants(server.pid):
        if b"sglang::scheduler" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise AssertionError("No scheduler was found.")


def wait_until_healthy(server: Server) -> None:
    for _ in polling(START_TIMEOUT_S, interval=0.5):
        try:
            if server.client.get("/ping", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            assert server.status() is None, server.output()
    raise AssertionError(server.output())
