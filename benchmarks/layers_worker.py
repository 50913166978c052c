"""Sends requests to each layer of the bare app and of the decorated one.

Runs as ``layers_worker.py CASE CALLS``, usually in callgrind, which writes its count of
instructions before each call of ``sched_yield``: there is one before and after the
requests to a layer. Prints one line of JSON: for either app, the names of its layers,
outermost first.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, Final

from fastapi import FastAPI

from exchange import Message
from traffic import CASES, Case
from worker import build_base, lifespan, start

_PARAMETERS: Final = ("self", "scope", "receive", "send")


@dataclass
class Layer:
    """An ASGI app within an app, and the scope of a request that reached it."""

    name: str
    app: Callable[..., Any]
    scope: Message


class Recorder:
    """A profiling function that records the ASGI apps that a request reaches."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self._seen: set[tuple[int, str]] = set()

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        is_app = code.co_varnames[: code.co_argcount] == _PARAMETERS
        if event != "call" or not is_app or code.co_name == "__init__":
            return
        owner, scope = frame.f_locals["self"], frame.f_locals["scope"]
        key = id(owner), code.co_name  # A coroutine is also called to go on.
        if key not in self._seen:
            self._seen.add(key)
            suffix = "" if code.co_name == "__call__" else f".{code.co_name}"
            name = f"{type(owner).__name__}{suffix}"
            self.layers.append(Layer(name, getattr(owner, code.co_name), {**scope}))


async def send_requests(case: Case, calls: int) -> dict[str, list[str]]:
    """Send the requests, and return the names of the layers of either app."""
    async with start(case.setup) as (ours, session), lifespan(case.setup, ours):
        case = replace(case, session=session)
        apps = {"bare": build_base(case.setup), "ours": ours}
        layers = {name: await find_layers(apps[name], case) for name in apps}
        # So that a collection is not counted for the layer that it happens in.
        gc.collect()
        gc.disable()
        for found in layers.values():
            for layer in found:
                await send_to(layer, case, calls)
        return {name: [layer.name for layer in layers[name]] for name in apps}


async def find_layers(app: FastAPI, case: Case) -> list[Layer]:
    await case.exchange().ask(app)
    recorder = Recorder()
    sys.setprofile(recorder)
    try:
        await case.exchange().ask(app)
    finally:
        sys.setprofile(None)
    return recorder.layers


async def send_to(layer: Layer, case: Case, calls: int) -> None:
    exchanges = [case.exchange() for _ in range(calls)]
    scopes = [{**layer.scope, "state": {}} for _ in range(calls)]
    os.sched_yield()
    for exchange, scope in zip(exchanges, scopes, strict=True):
        await layer.app(scope, exchange.receive, exchange.send)
    os.sched_yield()


if __name__ == "__main__":
    names = asyncio.run(send_requests(CASES[sys.argv[1]], int(sys.argv[2])))
    print(json.dumps(names))
