"""Sends requests to an app with adapters and reports how long each one took.

Runs in the environment of our package, as ``adapter_worker.py FOLDER``; processes with
the same folder are processes of one server. Reads requests from standard input, the
fields of an ``AdapterRequest`` as a JSON object a line; answers each with milliseconds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from typing import Final

import adapter_app
from adapter_requests import AdapterRequest

NANOSECONDS: Final = 1e6


async def handle_orders(folder: Path) -> None:
    app = adapter_app.build(folder)
    async with app.router.lifespan_context(app):
        gc.collect()
        gc.freeze()
        for line in sys.stdin:
            exchange = AdapterRequest(**json.loads(line)).exchange()
            start = time.perf_counter_ns()
            await exchange.ask(app)
            taken = time.perf_counter_ns() - start
            print(json.dumps(taken / NANOSECONDS), flush=True)


if __name__ == "__main__":
    asyncio.run(handle_orders(Path(sys.argv[1])))
