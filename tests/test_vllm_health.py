"""Whether vLLM's requests move on, by what its front end shows of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY, Gauge

from mhcs.vllm.health import see_progress
from model_hosting_container_standards.sagemaker.operations import request_metrics

#: Longer than one look at the requests after the other.
WHILE_S = 0.35


class Request:
    """What vLLM's front end knows of a request."""

    def __init__(self, tokens: int | None) -> None:
        #: None where there are none: pooling.
        self.detokenizer = None
        if tokens is not None:
            self.detokenizer = SimpleNamespace(token_ids=[0] * tokens)
        self.is_prefilling = not tokens

    def move_on(self) -> None:
        self.is_prefilling = False
        if self.detokenizer is not None:
            self.detokenizer.token_ids.append(7)


class Client:
    """Where vLLM's ``AsyncLLM`` keeps its requests, since 0.8."""

    def __init__(self, **tokens: int | None) -> None:
        self.sleeps = False
        self.requests = {name: Request(count) for name, count in tokens.items()}
        self.output_processor = SimpleNamespace(request_states=self.requests)

    async def is_sleeping(self) -> bool:
        return self.sleeps


@pytest.fixture(autouse=True)
def cache_use() -> Iterator[Gauge]:
    gauge = Gauge("vllm:kv_cache_usage_perc", "How full it is.", ["engine"])
    gauge.labels(engine="0").set(0.5)
    yield gauge
    with contextlib.suppress(KeyError):
        REGISTRY.unregister(gauge)


async def see(client: Any) -> asyncio.Task[None]:
    """Begin to look, and do so for a while."""
    seeing = asyncio.create_task(see_progress(client))
    await look(seeing)
    return seeing


async def look(seeing: asyncio.Task[None]) -> None:
    await asyncio.wait([seeing], timeout=WHILE_S)


@pytest.mark.parametrize("client", [None, SimpleNamespace(), Client()])
async def test_where_nothing_waits_there_is_nothing_to_see(client: Any) -> None:
    assert (await see(client)).done()


@pytest.mark.parametrize("name", ["decodes", "prefills", "pools"])
async def test_what_moves_on_is_progress(name: str) -> None:
    client = Client(decodes=3, prefills=0, pools=None)
    seeing = await see(client)
    assert not seeing.done()
    client.requests[name].move_on()
    await asyncio.wait_for(seeing, 5)


@pytest.mark.parametrize("name", ["decodes", "prefills", "pools"])
async def test_what_ends_well_is_progress(name: str) -> None:
    client = Client(decodes=3, prefills=0, pools=None)
    seeing = await see(client)
    client.requests.pop(name).move_on()
    await asyncio.wait_for(seeing, 5)


async def test_who_comes_or_gives_up_is_no_progress() -> None:
    client = Client(a=3, b=1)
    seeing = await see(client)
    del client.requests["a"]
    client.requests["c"] = Request(5)
    await look(seeing)
    assert not seeing.done()
    client.requests["c"].move_on()
    await asyncio.wait_for(seeing, 5)


async def test_when_the_last_one_has_given_up_nobody_waits() -> None:
    client = Client(a=3)
    seeing = await see(client)
    client.requests.clear()
    await asyncio.wait_for(seeing, 5)


async def test_a_long_prompt_is_progress_as_it_gets_room(cache_use: Gauge) -> None:
    use = cache_use.labels(engine="0")
    seeing = await see(Client(a=0))
    use.set(0.4)  # Somebody gave up.
    await look(seeing)
    assert not seeing.done()
    use.set(0.41)
    await asyncio.wait_for(seeing, 5)


async def test_without_statistics_it_cannot_be_told(cache_use: Gauge) -> None:
    REGISTRY.unregister(cache_use)
    assert (await see(Client(a=3))).done()


async def test_among_several_servers_it_cannot_be_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_metrics, "SHARED", True)
    assert (await see(Client(a=3))).done()


async def test_a_sleeping_engine_is_well() -> None:
    client = Client(a=3)
    seeing = await see(client)
    client.sleeps = True
    await asyncio.wait_for(seeing, 5)
