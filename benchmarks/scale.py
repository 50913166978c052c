"""Measures how a real vLLM with this package scales, for the documentation.

The engine returns its token at once (``instant_engine.py``), so that the API servers
have the most to do. Three questions:

- How many requests per second do 1, 2 and 4 API servers answer?
- How much CPU time does a request take with up to 10,000 adapters, or sessions?
- How much memory do they take?

``--quick`` only checks that everything runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final

from api_servers import api_servers, memory
from real import ADAPTER, ROOT, STARTUP, adapter_path, serve
from scale_load import OURS, V1, measure, wire
from scale_report import Point, write_scale
from servers import Server

HERE: Final = Path(__file__).resolve().parent
_SESSION: Final = "X-Amzn-SageMaker-Session-Id"
#: Adapters that requests take turns with; the engine keeps them loaded.
_IN_USE: Final = 8
#: Registrations, or sessions, whose median duration is taken.
_TIMED: Final = 200
_BODY: Final = {"model": "tiny", "prompt": "hello", "max_tokens": 1}
_OPTIONS: Final = (
    "--distributed-executor-backend=instant_engine.InstantExecutor",
    f"--max-loras={_IN_USE}",
    "--max-cpu-loras=16",
    "--disable-uvicorn-access-log",
)
_ENV: Final = {
    "PYTHONPATH": f"{STARTUP}:{HERE}",
    "SAGEMAKER_ENABLE_STATEFUL_SESSIONS": "true",
    "SAGEMAKER_CONTAINER_LOG_LEVEL": "WARNING",
}

#: Requests of each kind, which take turns.
Kinds = Mapping[str, Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: numbers of servers, adapters and sessions, and of blocks.

    A block has ``requests`` requests of each kind.
    """

    servers: Sequence[int] = (1, 2, 4)
    counts: Sequence[int] = (1, 10, 100, 1000, 10_000)
    blocks: int = 5
    requests: int = 1600


QUICK: Final = Plan(servers=(1, 2), counts=(1, 20), blocks=1, requests=64)


def main() -> None:
    quick = _parse_arguments().quick
    plan = QUICK if quick else Plan()
    servers = [_measure_servers(count, plan) for count in plan.servers]
    with _serve() as server:
        adapters = [*_fill(server, plan, AdapterKinds(server))]
    with _serve() as server:
        sessions = [*_fill(server, plan, SessionKinds(server))]
    folder = ROOT / "build" if quick else HERE
    print(write_scale(folder, plan.requests, servers, adapters, sessions))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only see whether it runs")
    return parser.parse_args()


def _serve(*arguments: str) -> Server:
    return serve(*_OPTIONS, *arguments, env=_ENV)


def _measure_servers(count: int, plan: Plan) -> Point:
    kinds = {path: [wire(path, _BODY)] for path in (V1, OURS)}
    with _serve(f"--api-server-count={count}") as server:
        return Point(count, measure(server, kinds, plan.blocks, plan.requests))


class AdapterKinds:
    """Registers adapters; requests name one in the body, or in the header."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._registered = 0

    def create(self) -> None:
        name = f"adapter-{self._registered}"
        # The first request loads it.
        query = {"name": name, "src": adapter_path("adapter-a"), "preload": "false"}
        self._server.client.post("/adapters", params=query).raise_for_status()
        self._registered += 1

    def requests(self) -> Kinds:
        count = min(self._registered, _IN_USE)
        names = [f"adapter-{number}" for number in range(count)]
        return {
            V1: [wire(V1, {**_BODY, "model": name}) for name in names],
            OURS: [wire(OURS, _BODY, **{ADAPTER: name}) for name in names],
        }


class SessionKinds:
    """Begins sessions; requests belong to one, or to none."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ids: list[str] = []

    def create(self) -> None:
        answer = self._server.client.post(OURS, json={"requestType": "NEW_SESSION"})
        answer.raise_for_status()
        self._ids.append(answer.headers[_SESSION].split(";")[0])

    def requests(self) -> Kinds:
        return {
            V1: [wire(V1, _BODY)],
            OURS: [wire(OURS, _BODY, **{_SESSION: id_}) for id_ in self._ids],
        }


def _fill(
    server: Server, plan: Plan, kinds: AdapterKinds | SessionKinds
) -> Iterator[Point]:
    """Measure with more and more adapters, or sessions."""
    for before, count in pairwise([0, *plan.counts]):
        seconds = [_duration(kinds.create) for _ in range(before, count)]
        yield Point(
            count,
            measure(server, kinds.requests(), plan.blocks, plan.requests),
            median(seconds[-_TIMED:]) * 1000,
            sum(map(memory, api_servers(server))),
        )


def _duration(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
