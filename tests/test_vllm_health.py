"""Whether vLLM's requests move on, by what its front end shows of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY, Gauge

from mhcs.vllm.health import see_progress

#: Longer than one look at the requests after the other.
WHILE_S = 0.35


class Client:
    """Where vLLM's ``AsyncLLM`` keeps its requests, since 0.8."""

    def __init__(self, **tokens: int) -> None:
        self.states: dict[str, Any] = {}
        self.output_processor = SimpleNamespace(request_states=self.states)
        for name, count in tokens.items():
            self.add(name, count)

    def add(self, name: str, count: int) -> None:
        detokenizer = SimpleNamespace(token_ids=[0] * count)
        self.states[name] = SimpleNamespace(detokenizer=detokenizer)

    def add_pooling(self, name: str) -> None:
        self.states[name] = SimpleNamespace(detokenizer=None)


@pytest.fixture(params=["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"])
def cache_use(request: pytest.FixtureRequest) -> Iterator[Gauge]:
    gauge = Gauge(request.param, "How full it is.", ["engine"])
    yield gauge
    REGISTRY.unregister(gauge)


async def sees(client: Any) -> asyncio.Task[None]:
    seeing = asyncio.create_task(see_progress(client))
    await asyncio.wait([seeing], timeout=WHILE_S)
    return seeing


@pytest.mark.parametrize("client", [None, SimpleNamespace(), Client()])
async def test_where_nothing_waits_there_is_nothing_to_see(client: Any) -> None:
    assert (await sees(client)).done()


async def test_a_token_is_progress() -> None:
    client = Client(a=3, b=1)
    client.add_pooling("c")
    seeing = await sees(client)
    assert not seeing.done()
    client.states["b"].detokenizer.token_ids.append(7)
    await asyncio.wait_for(seeing, 5)


async def test_who_comes_or_gives_up_is_no_progress() -> None:
    client = Client(a=3, b=1)
    seeing = await sees(client)
    del client.states["a"]
    client.add("c", 5)
    await asyncio.wait([seeing], timeout=WHILE_S)
    assert not seeing.done()
    client.states["c"].detokenizer.token_ids.append(7)
    await asyncio.wait_for(seeing, 5)


async def test_the_last_one_leaves() -> None:
    client = Client(a=3)
    seeing = await sees(client)
    client.states.clear()
    await asyncio.wait_for(seeing, 5)


async def test_a_long_prompt_is_progress_as_it_gets_room(cache_use: Gauge) -> None:
    use = cache_use.labels(engine="1")
    use.set(0.5)
    seeing = await sees(Client(a=0))
    use.set(0.4)  # Somebody gave up.
    await asyncio.wait([seeing], timeout=WHILE_S)
    assert not seeing.done()
    use.set(0.41)
    await asyncio.wait_for(seeing, 5)
