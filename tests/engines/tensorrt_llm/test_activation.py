"""Activation on TensorRT-LLM: when its apps get our routes, and when not."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from adapter_engine import write_adapter
from layouts import CUSTOMER, MHCS_RUN
from servers import free_port, polling
from trtllm import (
    MODEL,
    RELEASES,
    SERVE,
    SEVERAL_FRONTENDS,
    TrtllmServer,
    fail_to_start,
    trtllm,
)

BY_AUTO: Final = {"MHCS_AUTO": "1"}
BY_MODEL_PATH: Final = {"SAGEMAKER_MODEL_PATH": str(CUSTOMER)}
LAUNCH: Final = (sys.executable, str(CUSTOMER / "launch_trtllm.py"), MODEL)
ACTIVATIONS: Final[Mapping[str, tuple[tuple[str, ...], Mapping[str, str]]]] = {
    "MHCS_AUTO=1": (SERVE, BY_AUTO),
    "SAGEMAKER_MODEL_PATH": (SERVE, BY_MODEL_PATH),
    "mhcs run": ((*MHCS_RUN, *SERVE), {}),
    "import mhcs.auto": (LAUNCH, {}),
}
OLDEST, NEWEST = RELEASES[0], RELEASES[-1]
#: Modules that a worker must not import.
ONLY_FOR_SERVERS: Final = {
    "model_hosting_container_standards.sagemaker",
    "model_hosting_container_standards.app.bootstrap",
    "mhcs.tensorrt_llm.adapters",
}


def starts() -> Iterator[Any]:
    """Yield every release, and every activation method of the oldest and the newest."""
    for release in RELEASES:
        for activation, start in ACTIVATIONS.items():
            if activation == "MHCS_AUTO=1" or release in (OLDEST, NEWEST):
                yield pytest.param((release, *start), id=f"{release}-{activation}")


@pytest.fixture(scope="module", params=starts())
def server(request: pytest.FixtureRequest) -> Iterator[TrtllmServer]:
    release, command, env = request.param
    with trtllm(release, command=command, env=env) as server:
        yield server


def test_routes_are_added_once(server: TrtllmServer) -> None:
    routes = server.facts()["routes"]
    for path in ("/ping", "/invocations", "/adapters/{adapter_name:path}/update"):
        assert path in routes
    body = {"model": MODEL, "prompt": "hello"}
    answer = server.client.post("/v1/completions", json=body)
    assert answer.json()["choices"][0]["text"] == "base: hello"


def test_ping_does_not_generate_or_drain_statistics(server: TrtllmServer) -> None:
    before = server.facts()
    for method in ("GET", "HEAD", "POST"):
        assert server.client.request(method, "/ping").status_code in (200, 201)
    after = server.facts()
    for name in ("generations_begun", "drains"):
        assert after[name] == before[name]
    assert after["worker"]["generations"] == before["worker"]["generations"]


def test_middleware_stack_is_not_built_early(server: TrtllmServer) -> None:
    assert server.facts()["stack_built_early"] is False


def test_workers_import_only_the_patch(server: TrtllmServer) -> None:
    worker = server.facts()["worker"]
    assert worker["run_name"] == "__worker__"
    assert ONLY_FOR_SERVERS.isdisjoint(worker["modules"])


def test_patched_server_logs_nothing_of_ours(server: TrtllmServer) -> None:
    ours = ("mhcs", "model_hosting_container_standards", "Traceback")
    assert not any(word in server.output() for word in ours)


# --- processes of a server ---------------------------------------------------------


@pytest.mark.parametrize("release", [OLDEST, NEWEST])
def test_postprocessing_workers_do_not_bootstrap(release: str) -> None:
    workers = ("--num_postprocess_workers", "2")
    env = {"LOG_LEVEL": "INFO", **BY_AUTO}
    with trtllm(release, *workers, env=env) as server:
        assert len(server.facts()["worker"]["postprocess_pids"]) == 2
        assert server.output().count("/ping is answered by") == 1


def test_both_front_ends_have_routes() -> None:
    env = {"LOG_LEVEL": "INFO", **BY_AUTO}
    with trtllm(SEVERAL_FRONTENDS, env=env, frontends=2) as server:
        assert server.output().count("/ping is answered by") == 2


def test_engines_middleware_option_still_works() -> None:
    option = ("--middleware", "customised.PassOn")
    with trtllm(NEWEST, *option, env=BY_AUTO) as server:
        assert "PassOn" in server.facts()["middleware"]
        assert server.client.get("/ping").status_code == 200


@pytest.mark.parametrize("release", ["trtllm_1_2", "trtllm_main", "trtllm_next"])
def test_encoder_server_has_routes_but_no_adapters(
    release: str, tmp_path: Path
) -> None:
    command = ("trtllm-serve", "mm_embedding_serve", MODEL)
    with trtllm(release, lora=True, command=command, env=BY_AUTO) as server:
        server.wait_until_ready("/ping")
        messages = [{"role": "user", "content": "hello"}]
        body = {"model": MODEL, "messages": messages}
        assert server.client.post("/invocations", json=body).status_code == 200
        src = write_adapter(tmp_path / "cats", "cats")
        body = {"name": "cats", "src": src}
        answer = server.client.post("/adapters", json=body)
        assert answer.status_code == 400
        assert "its role is MM_ENCODER" in answer.text


# --- a server that listens while it loads the model ---------------------------------

NEXT: Final = "trtllm_next"


@pytest.fixture
def loading_server(tmp_path: Path) -> Iterator[tuple[TrtllmServer, Path]]:
    """A server that finishes loading when the file exists."""
    loaded = tmp_path / "loaded"
    env = {**BY_AUTO, "TRTLLM_STANDIN_LOADED": str(loaded)}
    with trtllm(NEXT, env=env, ready_path=None) as server:
        wait_until_listening(server)
        yield server, loaded


def wait_until_listening(server: TrtllmServer) -> None:
    for _ in polling(30):
        with contextlib.suppress(httpx.TransportError):
            server.client.get("/health")
            return
    raise AssertionError("The server never listens.")


def test_loading_server_is_a_503_until_loaded(
    loading_server: tuple[TrtllmServer, Path],
) -> None:
    server, loaded = loading_server
    body = {"model": MODEL, "prompt": "hello"}
    for answer in (
        server.client.get("/ping"),
        server.client.get("/health"),
        server.client.post("/invocations", json=body),
        server.client.get("/adapters"),
    ):
        assert answer.status_code == 503
    loaded.touch()
    server.wait_until_ready("/ping")
    answer = server.client.post("/invocations", json=body)
    assert answer.json()["choices"][0]["text"] == "base: hello"


def test_loading_server_ends_on_sigterm(
    loading_server: tuple[TrtllmServer, Path],
) -> None:
    server, _ = loading_server
    os.kill(server.pid, signal.SIGTERM)
    assert server.wait(20) == -signal.SIGTERM


def test_adapters_are_restored_when_ping_is_healthy(tmp_path: Path) -> None:
    port = free_port()
    env = {**BY_AUTO, "SAGEMAKER_ADAPTERS_PATH": str(tmp_path / "state")}
    body = {"name": "cats", "src": write_adapter(tmp_path / "cats", "cats")}
    with trtllm(NEXT, lora=True, env=env, port=port) as server:
        server.client.post("/adapters", json=body).raise_for_status()
    with trtllm(NEXT, lora=True, env=env, port=port, ready_path="/ping") as server:
        completion = {"model": "cats", "prompt": "hello"}
        answer = server.client.post("/v1/completions", json=completion)
        assert answer.json()["choices"][0]["text"] == "cats: hello"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAGEMAKER_ADAPTERS_PATH", "/proc/none"),
        ("CUSTOM_PRE_PROCESS", "no.py:format"),
    ],
)
def test_unusable_configuration_prevents_startup(name: str, value: str) -> None:
    end = fail_to_start(NEXT, env={**BY_AUTO, name: value}, lora=True)
    assert end.status != 0
    assert f"{name}={value}" in end.stderr.replace("'", "")


# --- no activation -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "env"),
    [
        (SERVE, {}),
        (SERVE, {"MHCS_AUTO": "0", **BY_MODEL_PATH}),
        (SERVE, {"MHCS_DISABLE": "tensorrt_llm", **BY_AUTO}),
        (SERVE, {"MHCS_DISABLE": "vllm, TensorRT-LLM", **BY_AUTO}),
        (SERVE, {"MHCS_DISABLE": "*", **BY_AUTO}),
        (LAUNCH, {"MHCS_AUTO": "0"}),
    ],
    ids=str,
)
def test_disabled_engine_is_not_patched(
    command: tuple[str, ...], env: dict[str, str]
) -> None:
    with trtllm(NEWEST, command=command, env=env) as server:
        assert server.client.get("/ping").status_code == 404
        assert "/ping" not in server.facts()["routes"]
        assert "mhcs" not in server.output()


@pytest.mark.parametrize("release", ["trtllm_0_21", "trtllm_1_2", NEWEST])
def test_disaggregated_server_is_reported_and_not_patched(release: str) -> None:
    command = ("trtllm-serve", "disaggregated")
    with trtllm(release, command=command, env=BY_AUTO) as server:
        assert server.client.get("/ping").status_code == 404
        output = server.output()
    assert output.count("not added to the server of `trtllm-serve disaggregated`") == 1
    assert "use `trtllm-serve MODEL` to serve on SageMaker" in output


def test_grpc_is_reported() -> None:
    with trtllm(NEWEST, "--grpc", env=BY_AUTO, ready_path=None) as server:
        for _ in polling(30):
            if "--grpc" in server.output():
                break
        assert "omit --grpc to serve on SageMaker" in server.output()


# --- patches that fail -------------------------------------------------------------


def test_invalid_mhcs_auto_is_one_line_and_engine_starts_unpatched() -> None:
    with trtllm(NEWEST, env={"MHCS_AUTO": "banana"}) as server:
        assert server.client.get("/ping").status_code == 404
        output = server.output()
    assert output.count("MHCS_AUTO='banana' is not allowed") == 1


def test_unusable_handler_prevents_startup() -> None:
    end = fail_to_start(NEWEST, env={"CUSTOM_FASTAPI_PING_HANDLER": "no.py:ping"})
    assert end.status != 0
    assert "CUSTOM_FASTAPI_PING_HANDLER=no.py:ping" in end.stderr
