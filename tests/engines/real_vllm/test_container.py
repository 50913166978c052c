"""``mhcs serve`` as process 1 of a container: hung and dead engines, and shutdown."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from model_hosting_container_standards.processes.tree import descendants
from namespaces import UNSHARE, can_unshare
from real import (
    ADAPTER,
    COMPLETION,
    RELEASE,
    START_TIMEOUT_S,
    WITH_WORKER,
    VllmServer,
    adapter_path,
    requires_vllm,
)
from real import tiny_model as make_tiny_model
from servers import free_port, polling

from .streams import LONG, SHUTDOWN_LIMIT_S, check_streams_finish, read

pytestmark = [
    *requires_vllm,
    pytest.mark.slow,
    pytest.mark.skipif(RELEASE < (0, 11), reason="its engine may be a thread"),
]

SESSION: Final = "X-Amzn-SageMaker-Session-Id"
#: A small schema whose grammar takes seconds to compile.
SLOW: Final = {
    "type": "array",
    "items": {"type": "string", "pattern": "^(a|b|c){1,6000}$"},
    "minItems": 300,
    "maxItems": 2400,
}


class Container(VllmServer):
    """``mhcs serve``, as process 1 if this machine allows namespaces."""

    def __init__(self, state: Path) -> None:
        port = free_port()
        #: While this file exists, the engine generates nothing. A number in it is
        #: the seconds before each token instead.
        self.stuck = state / "stuck"
        env = {
            **WITH_WORKER,
            "SAGEMAKER_BIND_TO_PORT": str(port),
            "SAGEMAKER_ENABLE_STATEFUL_SESSIONS": "true",
            "SAGEMAKER_SESSIONS_PATH": str(state / "sessions"),
            "SAGEMAKER_ADAPTERS_PATH": str(state / "adapters"),
            "MHCS_PING_STALL_SECONDS": "5",
            "MHCS_RESTART_ON_HANG": "true",
            "PROCESS_MAX_START_RETRIES": "100",
            "PYTHONPATH": str(Path(__file__).with_name("stuck")),
            "STUCK": str(self.stuck),
            "SM_VLLM_MODEL": make_tiny_model(),
            "SM_VLLM_SERVED_MODEL_NAME": "tiny",
            "SM_VLLM_MAX_MODEL_LEN": "256",
            "SM_VLLM_ENFORCE_EAGER": "true",
            "SM_VLLM_ENABLE_LORA": "true",
            "SM_VLLM_MAX_LORA_RANK": "8",
        }
        self.prefix = UNSHARE if can_unshare() else ()
        command = [*self.prefix, Path(sys.executable).with_name("mhcs"), "serve"]
        super().__init__(command, env, port)
        # The address comes from SAGEMAKER_BIND_TO_PORT, not from arguments.
        self.command = [str(part) for part in command]

    @property
    def process_1(self) -> int:
        """The id of process 1 outside of its namespace."""
        return descendants(self.pid)[0] if self.prefix else self.pid

    def find_process(self, name: str) -> int:
        """Return the descendant of process 1 whose command line contains ``name``."""
        for pid in descendants(self.process_1):
            if name in command_line(pid):
                return pid
        raise AssertionError(f"No process {name} was found.")

    def invoke(self, **headers: str) -> httpx.Response:
        with self.new_client() as client:
            return client.post("/invocations", json=COMPLETION, headers=headers)

    def invoke_with(self, **fields: Any) -> httpx.Response:
        with self.new_client() as client:
            return client.post("/invocations", json={**COMPLETION, **fields})

    def wait_until_serving(self) -> None:
        """Return once the server generates and /ping is healthy."""
        for _ in polling(START_TIMEOUT_S, interval=0.5):
            try:
                healthy = self.client.get("/ping", timeout=5).status_code == 200
                if healthy and self.invoke().status_code == 200:
                    return
            except httpx.TransportError:
                assert self.status() is None, self.output()
        raise AssertionError(f"The server does not recover:\n{self.output()}")

    def wait_until_gone(self, pid: int) -> None:
        for _ in polling(START_TIMEOUT_S):
            if not command_line(pid):
                return
        raise AssertionError(f"Process {pid} is still running:\n{self.output()}")


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    with Container(tmp_path_factory.mktemp("state")) as container:
        yield container


def test_killed_process_is_restarted(container: Container) -> None:
    victims = [pid for pid in descendants(container.process_1) if command_line(pid)]
    os.kill(random.choice(victims), signal.SIGKILL)
    container.wait_until_serving()


def test_hung_engine_is_restarted_with_adapters_and_sessions(
    container: Container,
) -> None:
    adapter = {"name": "a", "src": adapter_path("adapter-a")}
    container.client.post("/adapters", json=adapter).raise_for_status()
    created = container.client.post("/invocations", json={"requestType": "NEW_SESSION"})
    session = created.headers[SESSION].partition(";")[0]
    text = container.invoke(**{ADAPTER: "a"}).json()["choices"][0]["text"]
    engine = container.find_process("EngineCore")
    os.kill(engine, signal.SIGSTOP)
    container.wait_until_gone(engine)
    container.wait_until_serving()
    answer = container.invoke(**{ADAPTER: "a", SESSION: session})
    assert answer.json()["choices"][0]["text"] == text


def test_engine_that_stops_generating_is_restarted(
    container: Container,
) -> None:
    """Its loop still answers health checks, and the client gives up."""
    engine = container.find_process("EngineCore")
    container.stuck.touch()
    try:
        with pytest.raises(httpx.ReadTimeout):
            container.client.post("/invocations", json=COMPLETION, timeout=1)
        container.wait_until_gone(engine)
    finally:
        container.stuck.unlink()
        container.wait_until_serving()


def test_dead_engine_is_restarted_and_clients_get_an_error(
    container: Container,
) -> None:
    engine = container.find_process("EngineCore")
    container.stuck.write_text("0.2")
    try:
        chunks = read(container, "/invocations", {**COMPLETION, **LONG})
        first = next(chunks)
        os.kill(engine, signal.SIGKILL)
        assert '"error"' in first + "".join(chunks)
        container.wait_until_gone(engine)
    finally:
        container.stuck.unlink()
        container.wait_until_serving()


@pytest.mark.parametrize("with_others", [False, True], ids=["alone", "with others"])
def test_slow_grammar_does_not_restart_engine(
    container: Container, with_others: bool
) -> None:
    """The grammar takes longer to compile than an engine may hang."""
    engine = container.find_process("EngineCore")
    container.wait_until_serving()
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": SLOW}}
    with ThreadPoolExecutor() as threads:
        pending = threads.submit(container.invoke_with, response_format=schema)
        while not pending.done():
            assert container.client.get("/ping").status_code == 200
            if with_others:
                assert container.invoke().status_code == 200
    assert pending.exception() is None
    assert container.client.get("/ping").status_code == 200
    assert container.find_process("EngineCore") == engine


def test_busy_engine_is_not_restarted(container: Container) -> None:
    """No request finishes for longer than an engine may hang."""
    engine = container.find_process("EngineCore")
    container.wait_until_serving()
    long = {"max_tokens": 240, "ignore_eos": True, "n": 64, "temperature": 1}
    with ThreadPoolExecutor() as threads:
        pending = [threads.submit(container.invoke_with, **long) for _ in range(3)]
        while not all(one.done() for one in pending):
            assert container.client.get("/ping").status_code == 200
    assert {one.result().status_code for one in pending} == {200}
    assert container.find_process("EngineCore") == engine


def test_streams_finish_before_shutdown(container: Container) -> None:
    """Must be the last test, because it stops the container."""
    check_streams_finish(container, container.process_1, "/invocations")
    container.wait(SHUTDOWN_LIMIT_S)
