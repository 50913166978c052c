"""/ping for an engine that is healthy, busy, hung or dead."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Collection

import httpx
import pytest
from fastapi import FastAPI

from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.engines import registry as engine_registry
from model_hosting_container_standards.engines.api import Engine
from model_hosting_container_standards.engines.description import EngineDescription
from model_hosting_container_standards.engines.runtime import EngineRuntime
from model_hosting_container_standards.exceptions import EngineUnhealthyError
from model_hosting_container_standards.health import engine_health as health
from model_hosting_container_standards.processes.tree import cpu_seconds


class HealthEngine(Engine):
    """An engine that is healthy while it runs, and counts its probes."""

    description = EngineDescription(name="test")

    def __init__(self) -> None:
        #: The loop runs; generation works; a waiting request has its result.
        self.running, self.generating, self.done = (asyncio.Event() for _ in range(3))
        for event in (self.running, self.generating, self.done):
            event.set()
        self.death_reason: str | None = None
        self.fails = self.fails_afterwards = self.keeps_server = False
        self.checks = self.probes = 0
        self.pids: Collection[int] = ()

    def owns(self, app: FastAPI) -> bool:
        return True

    def start(self, app: FastAPI) -> EngineRuntime:
        return HealthRuntime(app, self)

    async def answer(self, event: asyncio.Event) -> None:
        if self.fails:
            raise IndexError("no such thing")
        if self.death_reason:
            reason = self.death_reason
            raise EngineUnhealthyError(reason, keeps_server=self.keeps_server)
        await event.wait()
        if self.fails_afterwards:
            raise EngineUnhealthyError("It is dead.")


class HealthRuntime(EngineRuntime):
    def __init__(self, app: FastAPI, engine: HealthEngine) -> None:
        super().__init__(app)
        self._engine = engine

    async def check(self) -> None:
        self._engine.checks += 1
        await self._engine.answer(self._engine.running)

    async def probe_generation(self) -> None:
        self._engine.probes += 1
        await self._engine.answer(self._engine.generating)

    def processes(self) -> Collection[int]:
        return self._engine.pids


@pytest.fixture
async def engine() -> HealthEngine:
    return HealthEngine()


@pytest.fixture
async def client(
    engine: HealthEngine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setenv("MHCS_PING_STALL_SECONDS", "1")
    monkeypatch.setattr(engine_registry, "installed_engines", lambda: iter([engine]))
    app = FastAPI()

    @app.get("/ping")
    async def ping() -> str:
        return "healthy"

    @app.post("/invocations")
    async def invocations() -> str:
        await engine.done.wait()
        return "generated"

    transport = httpx.ASGITransport(sagemaker.bootstrap(app))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


async def until(client: httpx.AsyncClient, status: int) -> httpx.Response:
    async def ask() -> httpx.Response:
        while (answer := await client.get("/ping")).status_code != status:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return answer

    return await asyncio.wait_for(ask(), 20)


async def test_engine_that_responds_is_healthy(
    client: httpx.AsyncClient, engine: HealthEngine
) -> None:
    for method in ("GET", "POST", "HEAD"):
        assert (await client.request(method, "/ping")).status_code == 200
    assert (engine.checks, engine.probes) == (3, 0)


async def test_dead_engine_is_a_503_with_its_reason(
    client: httpx.AsyncClient, engine: HealthEngine
) -> None:
    engine.death_reason = "It ran out of memory."
    answer = await client.get("/ping")
    assert answer.status_code == 503
    assert "It ran out of memory." in answer.text


async def test_dead_engine_ends_waiting_requests(
    client: httpx.AsyncClient, engine: HealthEngine
) -> None:
    engine.done.clear()
    waiting = asyncio.create_task(client.post("/invocations"))
    await asyncio.sleep(0)
    engine.death_reason = "It ran out of memory."
    assert (await client.get("/ping")).status_code == 503
    answers = [await waiting, await client.post("/invocations")]
    for answer in answers:
        assert answer.status_code == 503
        assert "The engine is dead" in answer.text
        assert "memory" not in answer.text


async def test_server_keeps_running_if_the_operator_asks_for_it(
    client: httpx.AsyncClient, engine: HealthEngine
) -> None:
    engine.death_reason, engine.keeps_server = "It ran out of memory.", True
    assert (await client.get("/ping")).status_code == 503
    assert (await client.post("/invocations")).status_code == 200


async def test_engine_that_is_briefly_busy_is_healthy(
    client: httpx.AsyncClient, engine: HealthEngine
) -> None:
    engine.running.clear()
    assert (await client.get("/ping")).status_code == 200


async def test_hung_engine_is_a_503_until_it_answers(
    client: httpx.AsyncClient, engine: HealthEngine
) -> None:
    engine.running.clear()
    answer = await until(client, 503)
    assert "hung" in answer.text
    # All pings share one check.
    assert engine.checks == 1
    engine.running.set()
    assert (await until(client, 200)).text == '"healthy"'


async def test_old_success_does_not_count(
    client: httpx.AsyncClient, engine: HealthEngine
) -> None:
    engine.running.clear()
    assert (await client.get("/ping")).status_code == 200
    engine.running.set()
    await asyncio.sleep(0)
    engine.running.clear()
    await until(client, 503)
    assert engine.checks == 2


async def test_old_failure_does_not_count(
    client: httpx.AsyncClient, engine: HealthEngine
) -> None:
    engine.running.clear()
    assert (await client.get("/ping")).status_code == 200
    engine.fails_afterwards = True
    engine.running.set()
    await asyncio.sleep(0)
    engine.fails_afterwards = False
    for _ in range(2):
        assert (await client.get("/ping")).status_code == 200


async def test_engine_whose_check_fails_unexpectedly_is_healthy(
    client: httpx.AsyncClient, engine: HealthEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.fails = True
    for _ in range(3):
        assert (await client.get("/ping")).status_code == 200
    # Logged once: /ping comes several times a second.
    assert caplog.text.count("health check failed unexpectedly") == 1
    assert "IndexError: no such thing" in caplog.text


async def test_concurrent_pings_check_a_hung_engine_once(
    client: httpx.AsyncClient, engine: HealthEngine
) -> None:
    engine.running.clear()
    await asyncio.gather(*(client.get("/ping") for _ in range(20)))
    assert engine.checks == 1


async def test_generation_is_not_probed_while_requests_progress(
    client: httpx.AsyncClient, engine: HealthEngine
) -> None:
    for _ in range(10):
        assert (await client.post("/invocations")).status_code == 200
        assert (await client.get("/ping")).status_code == 200
    assert engine.probes == 0


async def test_engine_that_generates_nothing_is_a_503(
    client: httpx.AsyncClient, engine: HealthEngine
) -> None:
    """The engine's loop may respond, or have no check, while generation is stuck."""
    engine.generating.clear()
    engine.done.clear()
    waiting = [asyncio.create_task(client.post("/invocations")) for _ in range(3)]
    answer = await until(client, 503)
    assert "hung" in answer.text
    # A new request does not count as progress.
    waiting.append(asyncio.create_task(client.post("/invocations")))
    await asyncio.sleep(0)
    assert (await client.get("/ping")).status_code == 503
    engine.generating.set()
    engine.done.set()
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    assert (await client.get("/ping")).status_code == 200


async def test_engine_with_long_request_is_healthy(
    client: httpx.AsyncClient, engine: HealthEngine
) -> None:
    """The request does not progress, but probes of generation succeed."""
    engine.done.clear()
    waiting = asyncio.create_task(client.post("/invocations"))
    pings = 0
    while engine.probes < 3:
        assert (await client.get("/ping")).status_code == 200
        pings += engine.probes > 0
        await asyncio.sleep(0.02)
    # At most one probe per half stall time, however frequent the pings.
    assert pings > 2 * engine.probes
    engine.done.set()
    assert (await waiting).status_code == 200


async def test_generation_is_probed_again_after_progress(
    client: httpx.AsyncClient, engine: HealthEngine
) -> None:
    engine.generating.clear()
    for probes in (1, 2):
        engine.done.clear()
        waiting = asyncio.create_task(client.post("/invocations"))
        while engine.probes < probes:
            assert (await client.get("/ping")).status_code == 200
            await asyncio.sleep(0.02)
        engine.done.set()
        assert (await waiting).status_code == 200
        assert (await client.get("/ping")).status_code == 200


async def test_hung_engine_is_detected_although_clients_disconnect(
    client: httpx.AsyncClient, engine: HealthEngine
) -> None:
    engine.generating.clear()
    engine.done.clear()
    unhealthy = asyncio.create_task(until(client, 503))
    waiting = asyncio.create_task(client.post("/invocations"))
    while not unhealthy.done():
        await asyncio.sleep(0.02)
        previous, waiting = waiting, asyncio.create_task(client.post("/invocations"))
        await asyncio.sleep(0)  # The next request starts before this one ends.
        previous.cancel()
    assert "hung" in unhealthy.result().text
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    # No request waits any more, and the engine is still hung.
    assert (await client.get("/ping")).status_code == 503
    engine.generating.set()
    await until(client, 200)


async def test_request_whose_client_disconnected_counts_as_stalled(
    client: httpx.AsyncClient, engine: HealthEngine
) -> None:
    engine.generating.clear()
    engine.done.clear()
    waiting = asyncio.create_task(client.post("/invocations"))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await until(client, 503)


async def test_abandoned_requests_are_forgotten_once_a_probe_succeeds(
    client: httpx.AsyncClient, engine: HealthEngine
) -> None:
    engine.done.clear()
    waiting = asyncio.create_task(client.post("/invocations"))
    await asyncio.sleep(0.01)
    waiting.cancel()
    while not engine.probes:
        assert (await client.get("/ping")).status_code == 200
        await asyncio.sleep(0.02)
    engine.done.set()
    for _ in range(2):
        assert (await client.post("/invocations")).status_code == 200
        assert (await client.get("/ping")).status_code == 200
    assert engine.probes == 1


async def test_stalled_request_is_healthy_until_generation_is_probed(
    client: httpx.AsyncClient, engine: HealthEngine
) -> None:
    engine.generating.clear()
    engine.done.clear()
    waiting = asyncio.create_task(client.post("/invocations"))
    await asyncio.sleep(1.1)  # Longer than the stall time.
    assert (await client.get("/ping")).status_code == 200
    await until(client, 503)
    engine.done.set()
    assert (await waiting).status_code == 200


# --- an engine that uses the CPU ----------------------------------------------------


@pytest.fixture
async def computing() -> AsyncIterator[int]:
    """Run a process that uses a whole CPU core."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "while True: pass"
    )
    yield process.pid
    process.kill()
    await process.wait()


@pytest.mark.parametrize("event_name", ["running", "generating"])
async def test_engine_that_uses_the_cpu_has_more_time(
    client: httpx.AsyncClient, engine: HealthEngine, computing: int, event_name: str
) -> None:
    """A client's request may take long to compute."""
    engine.pids = (computing,)
    getattr(engine, event_name).clear()
    engine.done.clear()
    waiting = asyncio.create_task(client.post("/invocations"))
    # Longer than the stall time, in CPU seconds, however loaded the machine is.
    while cpu_seconds(computing) < 3:
        assert (await client.get("/ping")).status_code == 200
        await asyncio.sleep(0.02)
    os.kill(computing, signal.SIGSTOP)
    await until(client, 503)
    os.kill(computing, signal.SIGCONT)
    await until(client, 200)
    getattr(engine, event_name).set()
    engine.done.set()
    assert (await waiting).status_code == 200


async def test_engine_that_spins_on_a_stopped_process_is_hung(
    client: httpx.AsyncClient, engine: HealthEngine, computing: int
) -> None:
    stopped = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()")
    os.kill(stopped.pid, signal.SIGSTOP)
    engine.pids = (computing, stopped.pid)
    engine.running.clear()
    await until(client, 503)
    stopped.kill()
    await stopped.wait()


async def test_engine_that_computes_too_long_is_hung(
    client: httpx.AsyncClient,
    engine: HealthEngine,
    computing: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SageMaker waits less than ten minutes for a request."""
    monkeypatch.setattr(health, "_COMPUTES_S", 0.5)
    engine.pids = (computing,)
    engine.running.clear()
    await until(client, 503)
