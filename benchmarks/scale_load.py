"""Sends requests to the API servers of a vLLM, and measures their CPU time."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median
from typing import Any, Final

from api_servers import api_servers, cpu_time
from connection import Connection
from servers import Server

CLIENTS: Final = 16
V1: Final = "/v1/completions"
OURS: Final = "/invocations"


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests per second, and the API servers' CPU milliseconds per request."""

    requests: float
    cpu: float


def wire(path: str, document: Mapping[str, Any], **headers: str) -> bytes:
    """Return a request in HTTP/1.1."""
    body = json.dumps(document).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def measure(
    server: Server, kinds: Mapping[str, Sequence[bytes]], blocks: int, requests: int
) -> dict[str, Rate]:
    """Return the median rates of several kinds of requests, which take turns.

    Args:
        kinds: the requests of each kind, which take turns too.
        requests: how many requests of a kind a block has.
    """
    rates: dict[str, list[Rate]] = {kind: [] for kind in kinds}
    for number in range(blocks + 1):
        for kind, wires in kinds.items():
            rate = _send_block(server, wires, requests)
            if number:  # The first one warms up.
                rates[kind].append(rate)
    return {kind: _median(found) for kind, found in rates.items()}


def _median(rates: Sequence[Rate]) -> Rate:
    return Rate(
        median(rate.requests for rate in rates), median(rate.cpu for rate in rates)
    )


def _send_block(server: Server, wires: Sequence[bytes], requests: int) -> Rate:
    each = requests // CLIENTS
    # New connections, so that the kernel spreads them over the API servers anew.
    connections = [Connection(server.port) for _ in range(CLIENTS)]
    parts = [islice(cycle(wires), number, number + each) for number in range(CLIENTS)]
    processes = api_servers(server)
    before, start = sum(map(cpu_time, processes)), time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(_send, connections, parts))
    seconds = time.perf_counter() - start
    cpu = sum(map(cpu_time, processes)) - before
    return Rate(each * CLIENTS / seconds, cpu / (each * CLIENTS))


def _send(connection: Connection, wires: islice[bytes]) -> None:
    for each in wires:
        connection.ask(each)
    connection.close()
