"""Measures the latency of ``/ping`` on an overloaded real vLLM."""

from __future__ import annotations

import argparse
import asyncio
import math
import multiprocessing
import time
from collections import Counter
from typing import Any, Final

import httpx

from real import COMPLETION, serve

#: Concurrent requests, running and queued.
STREAMS: Final = 64
#: How many requests the engine runs at once.
AT_ONCE: Final = 32
PINGS_PER_SECOND: Final = 50
_PERCENTILES: Final = (50.0, 99.0, 99.9, 100.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args().seconds
    with serve(f"--max-num-seqs={AT_ONCE}") as server:
        # In a separate process, whose work does not delay the pings.
        load = multiprocessing.get_context("spawn").Process(
            target=make_load, args=(server.url,), daemon=True
        )
        load.start()
        wait_until_busy(server.client)
        latencies, statuses = asyncio.run(measure(server.url, seconds))
        load.kill()
    print(f"{len(latencies)} pings in {seconds} s under {STREAMS} streams: {statuses}")
    for percentile in _PERCENTILES:
        index = math.ceil(len(latencies) * percentile / 100) - 1
        print(f"{percentile:5.1f} % within {sorted(latencies)[index] * 1000:6.1f} ms")


def wait_until_busy(client: httpx.Client) -> None:
    while not _is_waiting(client.get("/metrics").text):
        time.sleep(0.5)


def _is_waiting(metrics: str) -> bool:
    lines = [line for line in metrics.splitlines() if "requests_waiting{" in line]
    return any(float(line.split()[-1]) > 0 for line in lines)


def make_load(url: str) -> None:
    asyncio.run(_load(url))


async def _load(url: str) -> None:
    async with _client(url) as client:
        await asyncio.gather(*(_stream(client) for _ in range(STREAMS)))


async def _stream(client: httpx.AsyncClient) -> None:
    body = {**COMPLETION, "max_tokens": 200, "ignore_eos": True, "stream": True}
    while True:
        async with client.stream("POST", "/invocations", json=body) as answer:
            async for _ in answer.aiter_raw():
                pass


async def measure(url: str, seconds: int) -> tuple[list[float], dict[int, int]]:
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    async with _client(url) as client:

        async def one() -> None:
            began = time.perf_counter()
            statuses[(await client.get("/ping")).status_code] += 1
            latencies.append(time.perf_counter() - began)

        end = time.monotonic() + seconds
        asked: list[asyncio.Task[None]] = []
        # Pings do not wait for each other, so a slow one does not reduce the load.
        while time.monotonic() < end:
            asked.append(asyncio.create_task(one()))
            await asyncio.sleep(1 / PINGS_PER_SECOND)
        await asyncio.gather(*asked)
    return latencies, dict(statuses)


def _client(url: str) -> httpx.AsyncClient:
    settings: dict[str, Any] = {"timeout": 600, "trust_env": False}
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=url, limits=limits, **settings)


if __name__ == "__main__":
    main()
