"""Compares Ray Serve LLM with this package and without it, on clusters on this machine.

Three tables, each from clusters of one node:

- Requests per second with this package, over those of Ray's own ingress. Clients send
  requests for one token to both clusters in turns.
- Requests per second of 1, 2 and 4 replicas of the model, one cluster after the other.
- The duration of a registration and of requests, with up to 10,000 adapters registered.

``--quick`` only checks that everything runs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import httpx

from ray_server import VERSION, RayServer, serve
from real import adapter_path, tiny_model
from servers import Server

HERE: Final = Path(__file__).resolve().parent
CLIENTS: Final = 4
#: Requests of each client in a block.
REQUESTS: Final = 50
#: Requests, or registrations, whose median duration is taken.
TIMED: Final = 200
_BODY: Final = {"model": "tiny", "prompt": "hello", "max_tokens": 1, "temperature": 0}
#: The first adapter that is registered.
_ADAPTER: Final = {**_BODY, "model": "adapter-0"}
_COMPLETIONS: Final = "/v1/completions"
#: Path and body of the requests that are measured.
_REQUESTS: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "`/v1/completions`": (_COMPLETIONS, _BODY),
    "`/invocations`": ("/invocations", _BODY),
    "`/invocations`, adapter": ("/invocations", _ADAPTER),
}

Row = Sequence[str]


def main() -> None:
    quick = _parse_arguments().quick
    blocks = 1 if quick else 15
    replicas = [2] if quick else [1, 2, 4]
    adapters = [1, 100] if quick else [1, 1000, 10_000]
    tiny_model()  # Writes the adapters too.
    lines = [
        f"# Ray Serve LLM {VERSION} with this package and without it",
        "",
        f"Requests for one token per second, of {CLIENTS} clients: medians of {blocks} "
        f"blocks of {CLIENTS * REQUESTS}.",
        "",
        *_table(("with this package", "requests/s", "ratio"), _compare(blocks)),
        "",
        "On the same CPU cores, which are all busy with one replica of the model:",
        "",
        *_table(("replicas", *_REQUESTS), _scale(replicas, blocks)),
        "",
        f"Medians of {TIMED} requests by one client, in ms:",
        "",
        *_table(("adapters", "registration", *_REQUESTS), _fill(adapters)),
        "",
    ]
    print("\n".join(lines))
    if not quick:
        (HERE / "ray_serve.md").write_text("\n".join(lines))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only see whether it runs")
    return parser.parse_args()


def _table(head: Row, rows: Iterator[Row]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def _cluster(*arguments: str, replicas: int = 1) -> RayServer:
    """Return a cluster of one node, with one replica of the ingress."""
    numbers = {"--nodes": 1, "--ingress-replicas": 1, "--replicas": replicas}
    options = [f"{name}={number}" for name, number in numbers.items()]
    return serve(*options, *arguments)


def _register(server: Server, number: int) -> None:
    """Register an adapter, which its first request loads."""
    query = {"name": f"adapter-{number}", "src": adapter_path("adapter-a")}
    answer = server.client.post("/adapters", params={**query, "preload": "false"})
    answer.raise_for_status()


def _compare(blocks: int) -> Iterator[Row]:
    with _cluster() as ours, _cluster("--plain") as plain:
        _register(ours, 0)
        before, *rates = _rates(
            [(plain, _COMPLETIONS, _BODY)]
            + [(ours, *request) for request in _REQUESTS.values()],
            blocks,
        )
    yield "(without)", f"{before:.1f}", "1"
    for title, rate in zip(_REQUESTS, rates, strict=True):
        yield title, f"{rate:.1f}", f"{rate / before:.3f}"


def _scale(replicas: Sequence[int], blocks: int) -> Iterator[Row]:
    for count in replicas:
        with _cluster(replicas=count) as server:
            _register(server, 0)
            requests = [(server, *request) for request in _REQUESTS.values()]
            rates = _rates(requests, blocks)
        yield str(count), *(f"{rate:.1f}" for rate in rates)


def _fill(counts: Sequence[int]) -> Iterator[Row]:
    with _cluster() as server:
        for before, count in pairwise([0, *counts]):
            seconds = [
                _duration(partial(_register, server, number))
                for number in range(before, count)
            ]
            medians = [
                statistics.median(seconds[-TIMED:]),
                *(_latency(server, *request) for request in _REQUESTS.values()),
            ]
            yield f"{count:,}", *(f"{1000 * each:.2f}" for each in medians)


def _latency(server: Server, path: str, body: dict[str, Any]) -> float:
    """Return the median duration of a request, in seconds."""
    send = partial(_post, server.client, path, body)
    send()  # It may load the adapter.
    return statistics.median(_duration(send) for _ in range(TIMED))


def _rates(
    requests: Sequence[tuple[Server, str, dict[str, Any]]], blocks: int
) -> list[float]:
    """Return the median rates of requests that are sent in turns."""
    rates: list[list[float]] = [[] for _ in requests]
    for number in range(blocks + 1):
        for each, request in zip(rates, requests, strict=True):
            rate = _send_block(*request)
            if number:  # The first one warms up.
                each.append(rate)
    return [statistics.median(each) for each in rates]


def _send_block(server: Server, path: str, body: dict[str, Any]) -> float:
    """Return the requests per second of a block."""
    with ThreadPoolExecutor(CLIENTS) as threads:
        seconds = _duration(
            lambda: [*threads.map(lambda _: _send(server, path, body), range(CLIENTS))]
        )
    return CLIENTS * REQUESTS / seconds


def _send(server: Server, path: str, body: dict[str, Any]) -> None:
    with server.new_client() as client:
        for _ in range(REQUESTS):
            _post(client, path, body)


def _post(client: httpx.Client, path: str, body: dict[str, Any]) -> None:
    client.post(path, json=body).raise_for_status()


def _duration(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
