"""Health of vLLM's engine: a probe of one token, and progress of requests."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY, Gauge

from mhcs.vllm import health
from mhcs.vllm.health import check, probe_generation
from mhcs.vllm.runtime import VLLMRuntime
from model_hosting_container_standards.exceptions import EngineUnhealthyError

#: The interval at which the probe polls, and a duration of several polls, in seconds.
POLL_S = 0.02
PROBE_S = 0.2


class EngineDeadError(Exception):
    """Recognised by its name, because vLLM moved the class."""


class QueueOverflowError(Exception):
    """Recognised by its name too."""


class Request:
    """The state of a request in vLLM's front end."""

    def __init__(self, tokens: int | None) -> None:
        #: None for pooling, which has no tokens.
        self.detokenizer = None
        if tokens is not None:
            self.detokenizer = SimpleNamespace(token_ids=[0] * tokens)
        self.is_prefilling = not tokens

    def advance(self) -> None:
        self.is_prefilling = False
        if self.detokenizer is not None:
            self.detokenizer.token_ids.append(7)


class Client:
    """The interface of vLLM's ``AsyncLLM`` since 0.8; ``asked`` records its calls."""

    def __init__(
        self, engines: int = 1, runner_type: str = "generate", **tokens: int | None
    ) -> None:
        self.sleeps = self.pauses = False
        self.requests = {name: Request(count) for name, count in tokens.items()}
        self.output_processor = SimpleNamespace(request_states=self.requests)
        self.engine_core = SimpleNamespace(engine_ranks_managed=[*range(engines)])
        self.model_config = SimpleNamespace(runner_type=runner_type)
        self.asked: list[dict[str, Any]] = []
        self.aborted: list[str] = []
        self.raises: list[Exception] = []
        self.generates = [asyncio.Event() for _ in range(engines)]
        self.dead: Exception | None = None

    async def check_health(self) -> None:
        if self.dead:
            raise self.dead

    async def is_sleeping(self) -> bool:
        await self.check_health()
        return self.sleeps

    async def is_paused(self) -> bool:
        return self.pauses

    async def get_supported_tasks(self) -> tuple[str, ...]:
        return ("token_classify", "classify")

    async def generate(
        self,
        prompt: Any,
        sampling_params: Any,
        request_id: str,
        *,
        data_parallel_rank: int | None = None,
        **options: Any,
    ) -> AsyncIterator[str]:
        rank = data_parallel_rank or 0
        asked = {"prompt": prompt, "params": sampling_params, "id": request_id}
        self.asked.append({**asked, "rank": data_parallel_rank, **options})
        try:
            await self.generates[rank].wait()
        except asyncio.CancelledError:
            self.aborted.append(request_id)
            raise
        if self.raises:
            raise self.raises.pop()
        yield "a token"

    async def encode(
        self, prompt: Any, pooling_params: Any, request_id: str
    ) -> AsyncIterator[str]:
        async for output in self.generate(prompt, pooling_params, request_id):
            yield output


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("vllm")
    module.SamplingParams = module.PoolingParams = SimpleNamespace
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(health, "_POLL_S", POLL_S)


@pytest.fixture(autouse=True)
def cache_use() -> Iterator[Gauge]:
    gauge = Gauge("vllm:kv_cache_usage_perc", "How full it is.", ["engine"])
    gauge.labels(engine="0").set(0.5)
    yield gauge
    with contextlib.suppress(KeyError):
        REGISTRY.unregister(gauge)


async def start_probe(client: Any) -> asyncio.Task[None]:
    """Start a probe, and let it run briefly."""
    probe = asyncio.create_task(probe_generation(client))
    await wait_briefly(probe)
    return probe


async def wait_briefly(probe: asyncio.Task[None]) -> None:
    await asyncio.wait([probe], timeout=PROBE_S)


async def wait_until_done(probe: asyncio.Task[None]) -> None:
    await asyncio.wait_for(probe, 5)


# --- the probe -----------------------------------------------------------------------


async def test_server_without_engine_is_healthy() -> None:
    await check(None)
    await probe_generation(None)


async def test_generating_engine_is_healthy_despite_waiting_requests() -> None:
    """Requests may wait for a grammar to compile, or for memory."""
    client = Client(waits=0)
    client.generates[0].set()
    await probe_generation(client)
    [asked] = client.asked
    assert asked["prompt"]["prompt_token_ids"] == [0]
    assert asked["params"].max_tokens == 1
    assert asked.get("lora_request") is None


async def test_engine_that_does_not_generate_shows_no_progress() -> None:
    client = Client(waits=0)
    probe = await start_probe(client)
    assert not probe.done()
    client.generates[0].set()
    await wait_until_done(probe)
    assert len(client.asked) == 1
    assert client.aborted == []


async def test_probe_ids_are_unique() -> None:
    client = Client()
    client.generates[0].set()
    for _ in range(2):
        await probe_generation(client)
    assert len({asked["id"] for asked in client.asked}) == 2


async def test_unneeded_probe_is_aborted() -> None:
    client = Client(waits=0)
    probe = await start_probe(client)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert client.aborted == [client.asked[0]["id"]]


async def test_each_engine_is_probed() -> None:
    """Progress of one engine does not count for another."""
    client = Client(engines=2)
    client.generates[0].set()
    probe = await start_probe(client)
    assert {asked["rank"] for asked in client.asked} == {0, 1}
    assert not probe.done()
    client.generates[1].set()
    await wait_until_done(probe)


async def test_model_without_tokens_is_probed_by_its_own_task() -> None:
    client = Client(runner_type="pooling")
    probe = await start_probe(client)
    assert not probe.done()
    client.generates[0].set()
    await wait_until_done(probe)
    assert client.asked[0]["params"].task == "classify"


async def test_rejected_probe_counts_as_alive() -> None:
    """For example, a model may require an image in the prompt."""
    client = Client()
    client.generates[0].set()
    client.raises = [ValueError("no such prompt")]
    await probe_generation(client)


async def test_probe_is_repeated_if_queue_is_full() -> None:
    client = Client()
    client.generates[0].set()
    client.raises = [QueueOverflowError(), QueueOverflowError()]
    await probe_generation(client)
    assert len(client.asked) == 3


# --- progress of other requests ------------------------------------------------------


@pytest.mark.parametrize("name", ["decodes", "prefills", "pools"])
async def test_advancing_requests_are_progress(name: str) -> None:
    """Even if the engine has no capacity for the probe."""
    client = Client(decodes=3, prefills=0, pools=None)
    probe = await start_probe(client)
    assert not probe.done()
    client.requests[name].advance()
    await wait_until_done(probe)
    assert len(client.aborted) == 1


async def test_finished_requests_are_progress() -> None:
    client = Client(decodes=3)
    probe = await start_probe(client)
    client.requests.pop("decodes").advance()
    await wait_until_done(probe)


async def test_new_or_aborted_requests_are_not_progress() -> None:
    client = Client(a=3, b=1)
    probe = await start_probe(client)
    client.requests.clear()
    client.requests["c"] = Request(5)
    await wait_briefly(probe)
    assert not probe.done()
    client.requests["c"].advance()
    await wait_until_done(probe)


async def test_long_prompt_is_progress_as_it_is_allocated(cache_use: Gauge) -> None:
    use = cache_use.labels(engine="0")
    probe = await start_probe(Client(a=0))
    use.set(0.4)  # A request was aborted.
    await wait_briefly(probe)
    assert not probe.done()
    use.set(0.41)
    await wait_until_done(probe)


async def test_tokens_are_counted_without_statistics(cache_use: Gauge) -> None:
    REGISTRY.unregister(cache_use)
    client = Client(a=3)
    probe = await start_probe(client)
    assert not probe.done()
    client.requests["a"].advance()
    await wait_until_done(probe)


@pytest.mark.parametrize("state", ["sleeps", "pauses"])
async def test_sleeping_engine_is_not_probed(state: str) -> None:
    client = Client(a=3)
    setattr(client, state, True)
    await probe_generation(client)
    assert client.asked == []


@pytest.mark.parametrize("state", ["sleeps", "pauses"])
async def test_engine_put_to_sleep_is_healthy(state: str) -> None:
    client = Client(a=3)
    probe = await start_probe(client)
    assert not probe.done()
    setattr(client, state, True)
    await wait_until_done(probe)
    assert len(client.aborted) == 1


# --- dead engines --------------------------------------------------------------------


async def test_dead_engine_aborts_probes_of_others() -> None:
    client = Client(engines=3)
    client.raises.append(EngineDeadError())
    client.generates[1].set()
    with pytest.raises(EngineUnhealthyError):
        await probe_generation(client)
    others = [asked["id"] for asked in client.asked if asked["rank"] != 1]
    assert sorted(client.aborted) == sorted(others)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_engine_that_dies_during_probe_is_dead() -> None:
    client = Client()
    probe = await start_probe(client)
    client.raises = [EngineDeadError("out of memory")]
    client.generates[0].set()
    with pytest.raises(EngineUnhealthyError, match="out of memory"):
        await wait_until_done(probe)


@pytest.mark.parametrize("error", [EngineDeadError(), RuntimeError("out of memory")])
async def test_engine_that_reports_death_is_dead(error: Exception) -> None:
    client = Client()
    await check(client)
    client.dead = error
    with pytest.raises(EngineUnhealthyError, match="dead") as raised:
        await check(client)
    assert not raised.value.keeps_server


async def test_server_of_dead_engine_can_be_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VLLM_KEEP_ALIVE_ON_ENGINE_DEATH", "1")
    client = Client()
    client.dead = EngineDeadError()
    with pytest.raises(EngineUnhealthyError, match="KEEP_ALIVE") as raised:
        await check(client)
    assert raised.value.keeps_server


def test_concurrency_is_the_number_of_sequences_of_all_ranks() -> None:
    app = FastAPI()
    runtime = VLLMRuntime(app)
    assert runtime.max_concurrency() is None
    app.state.engine_client = Client()
    assert runtime.max_concurrency() is None
    app.state.engine_client.vllm_config = SimpleNamespace(
        scheduler_config=SimpleNamespace(max_num_seqs=128),
        parallel_config=SimpleNamespace(data_parallel_size=2),
    )
    assert runtime.max_concurrency() == 256
