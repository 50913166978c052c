"""Calls the bare app and the decorated one, in one process and in turns.

Runs in the environment of a side, as ``worker.py CASE...``. Reads orders from standard
input, a JSON object a line: ``{"case": NAME, "rounds": N}``; answers each with one
line, N pairs of microseconds of CPU time per request: bare, decorated.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from fastapi import FastAPI

import application
from traffic import ADAPTER, CASES, Case

NANOSECONDS: Final = 1000


async def answer_orders(cases: Sequence[Case]) -> None:
    bare = application.build_bare()
    async with AsyncExitStack() as stack:
        standards = {
            registered: await stack.enter_async_context(start(registered))
            for registered in {case.registered for case in cases}
        }
        for case in cases:
            await check(bare, standards[case.registered], case)
        # As vLLM does before it serves: what is there stays, and is looked at no more.
        gc.collect()
        gc.freeze()
        for line in sys.stdin:
            order = json.loads(line)
            case = CASES[order["case"]]
            apps = bare, standards[case.registered]
            print(json.dumps(await measure(apps, case, order["rounds"])), flush=True)


@asynccontextmanager
async def start(registered: int) -> AsyncIterator[FastAPI]:
    """Start the decorated app, with so many adapters."""
    if not registered:
        yield application.build_standard()
        return
    # Imported late: the published package has no adapters to register.
    from adapter_app import start_with

    async with start_with(registered) as app:
        yield app


async def check(bare: FastAPI, standard: FastAPI, case: Case) -> None:
    """Make sure that both apps do what they are measured for."""
    await case.exchange().ask(bare)
    model = json.loads(await case.exchange().ask(standard))["model"]
    if case.with_adapter and model != ADAPTER:
        raise SystemExit(f"{case.title}: the handler saw the model {model!r}")


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
    asyncio.run(answer_orders([CASES[name] for name in sys.argv[1:]]))
