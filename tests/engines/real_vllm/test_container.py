"""``mhcs serve`` as process 1 of a container: engines that hang or die, and its end."""

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
    VllmServer,
    adapter_path,
    requires_vllm,
)
from real import tiny_model as make_tiny_model
from servers import free_port, polling

from .streams import ENDS_S, LONG, check_that_streams_end, read

pytestmark = [
    *requires_vllm,
    pytest.mark.skipif(RELEASE < (0, 11), reason="its engine may be a thread"),
]

SESSION: Final = "X-Amzn-SageMaker-Session-Id"
#: Some bytes, of which a grammar is made for seconds.
SLOW: Final = {
    "type": "array",
    "items": {"type": "string", "pattern": "^(a|b|c){1,6000}$"},
    "minItems": 300,
    "maxItems": 2400,
}


class Container(VllmServer):
    """``mhcs serve``, as process 1 where this machine allows it."""

    def __init__(self, state: Path) -> None:
        port = free_port()
        #: While there is this file, the engine computes nothing.
        self.stuck = state / "stuck"
        env = {
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
        # It knows its address by itself.
        self.command = [str(part) for part in command]

    @property
    def first(self) -> int:
        """Process 1, as it is called outside."""
        return descendants(self.pid)[0] if self.prefix else self.pid

    def find(self, name: str) -> int:
        """Return a process below process 1 by what its command line has."""
        for pid in descendants(self.first):
            if name in command_line(pid):
                return pid
        raise AssertionError(f"There is no {name}.")

    def invoke(self, **headers: str) -> httpx.Response:
        with self.new_client() as client:
            return client.post("/invocations", json=COMPLETION, headers=headers)

    def invoke_with(self, **fields: Any) -> httpx.Response:
        with self.new_client() as client:
            return client.post("/invocations", json={**COMPLETION, **fields})

    def wait_until_it_answers(self) -> None:
        """Return once it generates, and says that it is well, or it has ended.

        Saying so without doing so is no state to stay in.
        """
        for _ in polling(START_TIMEOUT_S, interval=0.5):
            try:
                well = self.client.get("/ping", timeout=5).status_code == 200
                if well and self.invoke().status_code == 200:
                    return
            except httpx.TransportError:
                assert self.status() is None, self.output()
        raise AssertionError(f"It does not recover:\n{self.output()}")

    def wait_until_gone(self, pid: int) -> None:
        for _ in polling(START_TIMEOUT_S):
            if not command_line(pid):
                return
        raise AssertionError(f"{pid} is still there:\n{self.output()}")


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
    victims = [pid for pid in descendants(container.first) if command_line(pid)]
    os.kill(random.choice(victims), signal.SIGKILL)
    container.wait_until_it_answers()


def test_hung_engine_is_restarted_with_adapters_and_sessions(
    container: Container,
) -> None:
    adapter = {"name": "a", "src": adapter_path("adapter-a")}
    container.client.post("/adapters", json=adapter).raise_for_status()
    begun = container.client.post("/invocations", json={"requestType": "NEW_SESSION"})
    session = begun.headers[SESSION].partition(";")[0]
    text = container.invoke(**{ADAPTER: "a"}).json()["choices"][0]["text"]
    engine = container.find("EngineCore")
    os.kill(engine, signal.SIGSTOP)
    container.wait_until_gone(engine)
    container.wait_until_it_answers()
    answer = container.invoke(**{ADAPTER: "a", SESSION: session})
    assert answer.json()["choices"][0]["text"] == text


def test_engine_that_stops_generating_is_restarted(
    container: Container,
) -> None:
    """Its loop answers, but it generates nothing, whoever waits for it or gives up."""
    engine = container.find("EngineCore")
    container.stuck.touch()
    try:
        with pytest.raises(httpx.ReadTimeout):
            container.client.post("/invocations", json=COMPLETION, timeout=1)
        container.wait_until_gone(engine)
    finally:
        container.stuck.unlink()
    container.wait_until_it_answers()


def test_dead_engine_is_restarted_and_clients_get_an_error(
    container: Container,
) -> None:
    engine = container.find("EngineCore")
    body = {**COMPLETION, **LONG}
    chunks = read(container, "/invocations", body)
    first = next(chunks)
    os.kill(engine, signal.SIGKILL)
    assert '"error"' in first + "".join(chunks)
    container.wait_until_gone(engine)
    container.wait_until_it_answers()


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside others"])
def test_slow_grammar_does_not_restart_engine(
    container: Container, beside: bool
) -> None:
    """Its schema takes longer to compile than an engine may be hung."""
    engine = container.find("EngineCore")
    container.wait_until_it_answers()
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": SLOW}}
    with ThreadPoolExecutor() as threads:
        asked = threads.submit(container.invoke_with, response_format=schema)
        while not asked.done():
            assert container.client.get("/ping").status_code == 200
            if beside:
                assert container.invoke().status_code == 200
    assert asked.exception() is None
    assert container.client.get("/ping").status_code == 200
    assert container.find("EngineCore") == engine


def test_busy_engine_is_not_restarted(container: Container) -> None:
    """Nothing comes of any request for longer than it may be hung."""
    engine = container.find("EngineCore")
    container.wait_until_it_answers()
    long = {"max_tokens": 240, "ignore_eos": True, "n": 64, "temperature": 1}
    with ThreadPoolExecutor() as threads:
        asked = [threads.submit(container.invoke_with, **long) for _ in range(3)]
        while not all(one.done() for one in asked):
            assert container.client.get("/ping").status_code == 200
    assert {one.result().status_code for one in asked} == {200}
    assert container.find("EngineCore") == engine


def test_streams_finish_before_shutdown(container: Container) -> None:
    """The container ends with it."""
    check_that_streams_end(container, container.first, "/invocations")
    container.wait(ENDS_S)
