"""Creates sessions while many others expire, and measures the time and stalls.

Runs in the environment of a side, as ``session_worker.py EXPIRED [values]``: with
``values``, which only our package supports, session values are written and read as
well. Prints one JSON object: milliseconds by operation.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Final

from fastapi import FastAPI

import session_app

NANOSECONDS: Final = 1e6
#: Sets the lifetime of sessions, as all must be created before the first one expires.
_BEGUN_IN_A_SECOND: Final = 500
_REPEATED: Final = 200
_TICK_MS: Final = 1


async def measure(expired: int, *, values: bool) -> dict[str, float]:
    seconds = 1 + expired // _BEGUN_IN_A_SECOND
    with session_app.build(seconds) as app:
        start = time.monotonic()
        found = {"begin a session": await begin_many(app, expired)}
        if time.monotonic() - start > seconds:
            raise SystemExit(f"{expired} sessions: not begun within {seconds} s")
        # One more second, as expiry times are rounded up.
        await asyncio.sleep(seconds + 1)
        beginning = asyncio.create_task(begin_many(app, _REPEATED))
        stall = await longest_stall(beginning)
        found[f"longest stall while {_REPEATED} begin and {expired:,} expire"] = stall
        if values:
            found |= time_values(await session_app.begin(app))
    return found


async def begin_many(app: FastAPI, count: int) -> float:
    """Create sessions; return the median time in milliseconds."""
    times = []
    for _ in range(count):
        start = time.perf_counter_ns()
        await session_app.begin(app)
        times.append(time.perf_counter_ns() - start)
    return median(times) / NANOSECONDS


async def longest_stall(task: asyncio.Task[float]) -> float:
    """Return the longest delay of the event loop, in ms, until the task is done."""
    longest, last = 0.0, time.perf_counter_ns()
    while not task.done():
        # Not 0: a busy loop would leave no time to the thread that it waits for.
        await asyncio.sleep(_TICK_MS / 1000)
        now = time.perf_counter_ns()
        longest, last = max(longest, (now - last) / NANOSECONDS - _TICK_MS), now
    await task
    return longest


def time_values(session_id: str) -> dict[str, float]:
    # Imported late: the published package does not have this module.
    from model_hosting_container_standards.sessions.manager import get_session_manager

    sessions = get_session_manager()
    assert sessions
    session = sessions.get_session(session_id)
    return {
        "put a value": time_call(lambda: session.put("key", {"turns": [1, 2, 3]})),
        "get a value": time_call(lambda: session.get("key")),
    }


def time_call(call: Callable[[], object]) -> float:
    """Return the median time of a call in milliseconds."""
    times = []
    for _ in range(_REPEATED):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    return median(times) / NANOSECONDS


if __name__ == "__main__":
    expired, *rest = sys.argv[1:]
    print(json.dumps(asyncio.run(measure(int(expired), values=bool(rest)))))
