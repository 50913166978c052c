"""Calls the bare app and the decorated one alternately in one process.

Runs in the environment of a side, as ``worker.py CASE...``, with cases of one setup.
Reads JSON objects from standard input, one per line: ``{"case": NAME, "rounds": N}``;
responds to each with one line: N pairs of CPU time per request in microseconds, of the
bare and of the decorated app.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Final

from fastapi import FastAPI

import application
import middleware_app
import session_app
from traffic import ADAPTER, CASES, EVENTS, Case, Setup

NANOSECONDS: Final = 1000


async def handle_orders(cases: Mapping[str, Case]) -> None:
    (setup,) = {case.setup for case in cases.values()}
    async with start(setup) as (standard, session), lifespan(setup, standard):
        bare = build_base(setup)
        cases = {k: replace(case, session=session) for k, case in cases.items()}
        for case in cases.values():
            await check(bare, standard, case)
        # As vLLM does before it serves: existing objects are excluded from collection.
        gc.collect()
        gc.freeze()
        for line in sys.stdin:
            order = json.loads(line)
            case = cases[order["case"]]
            pairs = await measure((bare, standard), case, order["rounds"])
            print(json.dumps(pairs), flush=True)


def lifespan(setup: Setup, app: FastAPI) -> AbstractAsyncContextManager[object]:
    """Return the app's lifespan, which servers enter before the first request."""
    if setup.registered:  # Adapters are registered inside of it.
        return nullcontext()
    return app.router.lifespan_context(app)


def build_base(setup: Setup) -> FastAPI:
    """Return the app that the decorated app is compared with."""
    if not setup.operations:
        return application.build_bare()
    # Imported late: the published package does not support operations.
    from operations_app import build_without

    return build_without()


@asynccontextmanager
async def start(setup: Setup) -> AsyncIterator[tuple[FastAPI, str]]:
    """Start the decorated app, and the session of its requests if it has sessions."""
    if setup.registered:
        # Imported late: the published package does not register adapters.
        from adapter_app import start_with

        async with start_with(setup.registered) as app:
            yield app, ""
    elif setup.operations:
        import operations_app

        with operations_app.start(setup.operations) as app:
            await operations_app.check(app, setup.operations)
            yield app, ""
    elif setup.sessions:
        async with session_app.start() as started:
            yield started
    else:
        yield await middleware_app.start(setup.middleware), ""


async def check(bare: FastAPI, standard: FastAPI, case: Case) -> None:
    """Check that both apps respond as expected."""
    plain, exchange = case.exchange(), case.exchange()
    await plain.ask(bare)
    content = await exchange.ask(standard)
    if case.with_adapter:
        is_expected = json.loads(content)["model"] == ADAPTER
    else:
        count = EVENTS if "stream" in case.document else 1
        is_expected = len(plain.chunks) == len(exchange.chunks) == count
    if not is_expected:
        raise SystemExit(f"{case.title}: the answer is {content!r}")


async def measure(
    apps: tuple[FastAPI, FastAPI], case: Case, rounds: int
) -> list[tuple[float, float]]:
    bare, standard = apps
    pairs = []
    # One extra round, to warm the CPU caches.
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
    asyncio.run(handle_orders({name: CASES[name] for name in sys.argv[1:]}))
