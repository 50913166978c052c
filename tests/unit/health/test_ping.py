"""/ping, and the engine behind it: one that answers, is busy, hung or dead."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.engines import registry as engine_registry
from model_hosting_container_standards.exceptions import EngineUnhealthyError
from model_hosting_container_standards.health import engine_health as health
from model_hosting_container_standards.processes.tree import cpu_seconds


class Engine:
    """An engine that answers while it runs, and counts what it is asked."""

    name = "test"
    command = None
    health_path = "/health"
    invocation_paths: Mapping[str, Sequence[str]] = {}
    adapter_path = "model"
    moved_names: Mapping[str, Sequence[Any]] = {}
    metrics_is_json = False

    def __init__(self) -> None:
        #: Its loop runs; it works; it has generated what a request waits for.
        self.runs, self.works, self.done = (asyncio.Event() for _ in range(3))
        for able in (self.runs, self.works, self.done):
            able.set()
        self.dead_of: str | None = None
        self.fails = self.fails_late = self.keeps_server = False
        self.checks = self.tries = 0
        self.pids: Collection[int] = ()

    async def check(self, app: FastAPI) -> None:
        self.checks += 1
        await self._answer(self.runs)

    async def probe_generation(self, app: FastAPI) -> None:
        self.tries += 1
        await self._answer(self.works)

    def processes(self, app: FastAPI) -> Collection[int]:
        return self.pids

    async def _answer(self, able: asyncio.Event) -> None:
        if self.fails:
            raise IndexError("no such thing")
        if self.dead_of:
            reason = self.dead_of
            raise EngineUnhealthyError(reason, keeps_server=self.keeps_server)
        await able.wait()
        if self.fails_late:
            raise EngineUnhealthyError("It was dead.")

    def patch(self) -> None:
        """Nothing has to be patched."""

    def problems(self) -> Collection[str]:
        return ()

    def api_keys(self, app: FastAPI) -> Collection[str]:
        return ()

    def owns(self, app: FastAPI) -> bool:
        return True

    def inference_paths(self, app: FastAPI) -> Collection[str]:
        return ()

    def adapter_backend(self, app: FastAPI) -> Any:
        return Backend()


class Backend:
    server_name = "test"

    def prepare(self) -> None:
        """Nothing has to be prepared."""

    def unavailable(self) -> str:
        return "It has no adapters."


@pytest.fixture
async def engine() -> Engine:
    return Engine()


@pytest.fixture
async def client(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setenv("MHCS_PING_STALL_SECONDS", "1")
    monkeypatch.setattr(engine_registry, "installed_engines", lambda: iter([engine]))
    app = FastAPI()

    @app.get("/ping")
    async def ping() -> str:
        return "well"

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


async def test_an_engine_that_answers_is_well(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    for method in ("GET", "POST", "HEAD"):
        assert (await client.request(method, "/ping")).status_code == 200
    assert (engine.checks, engine.tries) == (3, 0)


async def test_a_dead_engine_is_a_503_with_its_reason(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    engine.dead_of = "It ran out of memory."
    answer = await client.get("/ping")
    assert answer.status_code == 503
    assert "It ran out of memory." in answer.text


async def test_a_dead_engine_ends_what_waits_for_it(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    engine.done.clear()
    waiting = asyncio.create_task(client.post("/invocations"))
    await asyncio.sleep(0)
    engine.dead_of = "It ran out of memory."
    assert (await client.get("/ping")).status_code == 503
    answers = [await waiting, await client.post("/invocations")]
    for answer in answers:
        assert answer.status_code == 503
        assert "The engine is dead" in answer.text
        assert "memory" not in answer.text


async def test_a_server_whose_operator_wants_it_to_stay_stays(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    engine.dead_of, engine.keeps_server = "It ran out of memory.", True
    assert (await client.get("/ping")).status_code == 503
    assert (await client.post("/invocations")).status_code == 200


async def test_an_engine_that_is_busy_for_a_while_is_well(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    engine.runs.clear()
    assert (await client.get("/ping")).status_code == 200


async def test_a_hung_engine_is_a_503_until_it_answers(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    engine.runs.clear()
    answer = await until(client, 503)
    assert "hung" in answer.text
    # However often it is asked, the engine was asked once.
    assert engine.checks == 1
    engine.runs.set()
    assert (await until(client, 200)).text == '"well"'


async def test_what_it_answered_long_ago_is_no_answer(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    engine.runs.clear()
    assert (await client.get("/ping")).status_code == 200
    engine.runs.set()
    await asyncio.sleep(0)
    engine.runs.clear()
    await until(client, 503)
    assert engine.checks == 2


async def test_what_was_wrong_long_ago_is_nothing_now(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    engine.runs.clear()
    assert (await client.get("/ping")).status_code == 200
    engine.fails_late = True
    engine.runs.set()
    await asyncio.sleep(0)
    engine.fails_late = False
    for _ in range(2):
        assert (await client.get("/ping")).status_code == 200


async def test_an_engine_that_cannot_tell_is_not_ill(
    client: httpx.AsyncClient, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.fails = True
    for _ in range(3):
        assert (await client.get("/ping")).status_code == 200
    # Once: it is asked several times a second.
    assert caplog.text.count("health cannot be told") == 1
    assert "IndexError: no such thing" in caplog.text


async def test_many_pings_at_once_ask_a_hung_engine_once(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    engine.runs.clear()
    await asyncio.gather(*(client.get("/ping") for _ in range(20)))
    assert engine.checks == 1


async def test_nothing_is_generated_while_something_comes_of_requests(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    for _ in range(10):
        assert (await client.post("/invocations")).status_code == 200
        assert (await client.get("/ping")).status_code == 200
    assert engine.tries == 0


async def test_requests_that_wait_for_nothing_are_a_503(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    """The engine's loop may run, or cannot be asked, and yet nothing is generated."""
    engine.works.clear()
    engine.done.clear()
    waiting = [asyncio.create_task(client.post("/invocations")) for _ in range(3)]
    answer = await until(client, 503)
    assert "hung" in answer.text
    # Further ones are no sign of life.
    waiting.append(asyncio.create_task(client.post("/invocations")))
    await asyncio.sleep(0)
    assert (await client.get("/ping")).status_code == 503
    engine.works.set()
    engine.done.set()
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    assert (await client.get("/ping")).status_code == 200


async def test_a_long_request_is_no_hung_engine(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    """Nothing comes of it for long, but the engine works for whoever asks it."""
    engine.done.clear()
    waiting = asyncio.create_task(client.post("/invocations"))
    pings = 0
    while engine.tries < 3:
        assert (await client.get("/ping")).status_code == 200
        pings += engine.tries > 0
        await asyncio.sleep(0.02)
    # Once in half the stall time, however often somebody wants to know.
    assert pings > 2 * engine.tries
    engine.done.set()
    assert (await waiting).status_code == 200


async def test_what_was_tried_is_tried_anew_after_progress(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    engine.works.clear()
    for tries in (1, 2):
        engine.done.clear()
        waiting = asyncio.create_task(client.post("/invocations"))
        while engine.tries < tries:
            assert (await client.get("/ping")).status_code == 200
            await asyncio.sleep(0.02)
        engine.done.set()
        assert (await waiting).status_code == 200
        assert (await client.get("/ping")).status_code == 200


async def test_clients_that_give_up_hide_no_hung_engine(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    engine.works.clear()
    engine.done.clear()
    answered = asyncio.create_task(until(client, 503))
    waiting = asyncio.create_task(client.post("/invocations"))
    while not answered.done():
        await asyncio.sleep(0.02)
        left, waiting = waiting, asyncio.create_task(client.post("/invocations"))
        await asyncio.sleep(0)  # The next one is there before the last one leaves.
        left.cancel()
    assert "hung" in answered.result().text
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    # All are gone, and it is as hung as before.
    assert (await client.get("/ping")).status_code == 503
    engine.works.set()
    await until(client, 200)


async def test_a_client_that_has_given_up_has_waited_in_vain(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    engine.works.clear()
    engine.done.clear()
    waiting = asyncio.create_task(client.post("/invocations"))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await until(client, 503)


async def test_clients_that_leave_a_healthy_engine_are_forgotten(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    engine.done.clear()
    waiting = asyncio.create_task(client.post("/invocations"))
    await asyncio.sleep(0.01)
    waiting.cancel()
    while not engine.tries:
        assert (await client.get("/ping")).status_code == 200
        await asyncio.sleep(0.02)
    engine.done.set()
    for _ in range(2):
        assert (await client.post("/invocations")).status_code == 200
        assert (await client.get("/ping")).status_code == 200
    assert engine.tries == 1


async def test_who_asks_seldom_hears_of_nothing_that_was_not_tried(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    engine.works.clear()
    engine.done.clear()
    waiting = asyncio.create_task(client.post("/invocations"))
    await asyncio.sleep(1.1)  # Longer than the stall time.
    assert (await client.get("/ping")).status_code == 200
    await until(client, 503)
    engine.done.set()
    assert (await waiting).status_code == 200


# --- an engine that computes --------------------------------------------------------


@pytest.fixture
async def computing() -> AsyncIterator[int]:
    """A process that does nothing but compute."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "while True: pass"
    )
    yield process.pid
    process.kill()
    await process.wait()


@pytest.mark.parametrize("able", ["runs", "works"])
async def test_an_engine_that_computes_has_more_time(
    client: httpx.AsyncClient, engine: Engine, computing: int, able: str
) -> None:
    """A client may have given it something that takes long."""
    engine.pids = (computing,)
    getattr(engine, able).clear()
    engine.done.clear()
    waiting = asyncio.create_task(client.post("/invocations"))
    # More than the second in which it has to answer, whatever else runs here.
    while cpu_seconds(computing) < 3:
        assert (await client.get("/ping")).status_code == 200
        await asyncio.sleep(0.02)
    os.kill(computing, signal.SIGSTOP)
    await until(client, 503)
    os.kill(computing, signal.SIGCONT)
    await until(client, 200)
    getattr(engine, able).set()
    engine.done.set()
    assert (await waiting).status_code == 200


async def test_a_process_that_is_stopped_is_waited_for_by_one_that_spins(
    client: httpx.AsyncClient, engine: Engine, computing: int
) -> None:
    stopped = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()")
    os.kill(stopped.pid, signal.SIGSTOP)
    engine.pids = (computing, stopped.pid)
    engine.runs.clear()
    await until(client, 503)
    stopped.kill()
    await stopped.wait()


async def test_an_engine_that_only_computes_is_hung(
    client: httpx.AsyncClient,
    engine: Engine,
    computing: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is no request that SageMaker waits ten minutes for."""
    monkeypatch.setattr(health, "_COMPUTES_S", 0.5)
    engine.pids = (computing,)
    engine.runs.clear()
    await until(client, 503)
