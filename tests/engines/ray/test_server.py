"""A model replica: requests pass through it, and its health is that of its engine."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.datastructures import State

pytestmark = pytest.mark.usefixtures("ray_standin")


class Client:
    """The client of an engine that answers until it dies or hangs."""

    model_config = SimpleNamespace(runner_type="generate")
    vllm_config = SimpleNamespace(lora_config=None)

    def __init__(self) -> None:
        self.is_dead = self.hangs = False

    async def check_health(self) -> None:
        if self.is_dead:
            raise RuntimeError("The engine core has ended.")

    async def is_sleeping(self) -> bool:
        if self.hangs:
            await asyncio.Event().wait()
        return False


class Engine:
    """An engine as Ray has it, with the state of vLLM's server."""

    def __init__(self) -> None:
        self.client = Client()
        self._app_state = State()
        self._app_state.engine_client = self.client

    async def start(self) -> None: ...

    async def check_health(self) -> None: ...

    async def completions(self, request: Any) -> AsyncGenerator[str, None]:
        if self.client.is_dead:
            raise RuntimeError("The engine core has ended.")
        for part in ("one", request):
            yield part


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("MHCS_PING_STALL_SECONDS", "1")
    return Engine()


@pytest.fixture
def engine_process(ray_standin: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The process of the engine, which is idle.

    Without titles, all children of the process that runs the tests would be its own.
    """
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as process:
        monkeypatch.setattr("mhcs.vllm.runtime.engine_processes", lambda: [process.pid])
        yield process.pid
        process.kill()


@pytest.fixture
def ends(engine_process: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ends of the replica's process, which goes on in the tests."""
    ends: list[str] = []
    monkeypatch.setattr("mhcs.ray.server.end_process", lambda: ends.append("end"))
    return ends


async def start(engine: Engine) -> Any:
    from mhcs.ray import SageMakerLLMServer

    server: Any = SageMakerLLMServer()
    server.engine = engine
    await server.start()
    return server


class OldEngine(Engine):
    """The engine up to Ray 2.59: the state of vLLM's server is not kept."""

    def __init__(self) -> None:
        super().__init__()
        self._engine_client = self._app_state.engine_client
        del self._app_state


async def test_health_is_that_of_the_engine_of_an_older_ray(ends: list[str]) -> None:
    engine = OldEngine()
    server = await start(engine)
    await server.check_health()
    engine.client.is_dead = True
    with pytest.raises(RuntimeError, match="The engine core has ended"):
        await server.check_health()
    assert ends == ["end"]


async def test_outputs_are_those_of_the_engine(engine: Engine) -> None:
    server = await start(engine)
    outputs = await server._run_request("two", engine_method="completions")
    assert [output async for output in outputs] == ["one", "two"]


async def test_replica_is_healthy_while_it_starts_and_later(engine: Engine) -> None:
    from mhcs.ray import SageMakerLLMServer

    starting: Any = SageMakerLLMServer()
    starting.engine = engine
    await starting.check_health()
    server = await start(engine)
    await server.check_health()


async def test_dead_engine_ends_the_replica(engine: Engine, ends: list[str]) -> None:
    server = await start(engine)
    engine.client.is_dead = True
    with pytest.raises(RuntimeError, match="The engine core has ended"):
        await server.check_health()
    assert ends == ["end"]


async def test_error_of_a_request_is_followed_by_a_check(
    engine: Engine, ends: list[str]
) -> None:
    server = await start(engine)
    engine.client.is_dead = True
    outputs = await server._run_request("two", engine_method="completions")
    with pytest.raises(RuntimeError, match="The engine core has ended"):
        await anext(outputs)
    with pytest.raises(RuntimeError, match="The engine core has ended"):
        await server._check
    assert ends == ["end"]


async def test_replica_is_kept_if_the_operator_wants_it(
    engine: Engine, ends: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_KEEP_ALIVE_ON_ENGINE_DEATH", "1")
    server = await start(engine)
    engine.client.is_dead = True
    with pytest.raises(RuntimeError, match="The engine core has ended"):
        await server.check_health()
    assert ends == []


async def test_hung_engine_is_killed_and_ends_the_replica(
    engine: Engine, engine_process: int, ends: list[str]
) -> None:
    server = await start(engine)
    engine.client.hangs = True
    with pytest.raises(RuntimeError, match="The engine is hung"):
        await check_often(server)
    assert ends == ["end"]
    await asyncio.to_thread(wait_for_end, engine_process)


async def check_often(server: Any) -> None:
    """Check the health until it is an error; each check takes a part of a second."""
    for _ in range(100):
        await server.check_health()


def wait_for_end(pid: int) -> None:
    from model_hosting_container_standards.processes.tree import is_running
    from servers import polling

    for _ in polling(30):
        if not is_running(pid):
            return
    raise AssertionError(f"{pid} is still running")


async def test_metrics_are_those_of_the_process(engine: Engine) -> None:
    server = await start(engine)
    names = {metric.name for metric in await server.read_metrics()}
    assert "sagemaker_requests" in names or "python_info" in names
