"""Calls the bare app and the decorated one, in one process and in turns.

Runs in the environment of a side. Reads orders from standard input, a JSON object a
line: ``{"case": NAME, "rounds": N}``; answers each with one line, N pairs of
microseconds of CPU time per request: bare, decorated.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from typing import Final

from fastapi import FastAPI

import application
from traffic import ADAPTER, CASES, Case

NANOSECONDS: Final = 1000


async def answer_orders() -> None:
    apps = (application.build_bare(), application.build_standard())
    await check(*apps)
    # As vLLM does before it serves: what is there stays, and is not looked at again.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        pairs = await measure(apps, CASES[order["case"]], order["rounds"])
        print(json.dumps(pairs), flush=True)


async def check(bare: FastAPI, standard: FastAPI) -> None:
    """Make sure that both apps do what they are measured for."""
    for case in CASES.values():
        await call(bare, case)
        model = json.loads(await call(standard, case))["model"]
        if case.with_adapter and model != ADAPTER:
            raise SystemExit(f"{case.title}: the handler saw the model {model!r}")


async def call(app: FastAPI, case: Case) -> bytes:
    exchange = case.exchange()
    await app(exchange.scope, exchange.receive, exchange.send)
    if exchange.status != 200:
        raise SystemExit(f"{case.title}: {exchange.status} {exchange.content!r}")
    return exchange.content


async def measure(
    apps: tuple[FastAPI, FastAPI], case: Case, rounds: int
) -> list[tuple[float, float]]:
    bare, standard = apps
    pairs = []
    # One round to warm the caches, which another process had before.
    for number in range(rounds + 1):
        if number % 2:
            pair = (
                await measure_block(bare, case),
                await measure_block(standard, case),
            )
        else:
            last = await measure_block(standard, case)
            pair = (await measure_block(bare, case), last)
        pairs.append(pair)
    return pairs[1:]


async def measure_block(app: FastAPI, case: Case) -> float:
    exchanges = [case.exchange() for _ in range(case.calls)]
    gc.collect()
    start = time.thread_time_ns()
    for exchange in exchanges:
        await app(exchange.scope, exchange.receive, exchange.send)
    return (time.thread_time_ns() - start) / case.calls / NANOSECONDS


if __name__ == "__main__":
    asyncio.run(answer_orders())
