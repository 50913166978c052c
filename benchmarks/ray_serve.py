"""Compares Ray Serve LLM with this package and without it, on clusters on this machine.

Both clusters have one node, and one replica of each kind. Clients send requests for one
token to them in turns: to ``/v1/completions`` of Ray's own ingress, and to that route,
``/invocations`` and an adapter of ours. ``--quick`` only checks that everything runs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx

from ray_server import VERSION, RayServer, serve
from real import ROOT
from servers import Server

HERE: Final = Path(__file__).resolve().parent
CLIENTS: Final = 4
#: Requests of each client in a block.
REQUESTS: Final = 50
ADAPTER: Final = ROOT / "build" / "adapter-a"
_COMPLETIONS: Final = "/v1/completions"
_SMALL: Final = ("--nodes", "1", "--replicas", "1", "--ingress-replicas", "1")
_BODY: Final = {"model": "tiny", "prompt": "hello", "max_tokens": 1, "temperature": 0}
#: Path and body for each row of the table.
_ROWS: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "`/v1/completions`": (_COMPLETIONS, _BODY),
    "`/invocations`": ("/invocations", _BODY),
    "`/invocations`, adapter": ("/invocations", {**_BODY, "model": "registered"}),
}


def main() -> None:
    arguments = _parse_arguments()
    blocks = 1 if arguments.quick else 15
    with serve(*_SMALL) as ours, serve(*_SMALL, "--plain") as plain:
        registration = {"name": "registered", "src": str(ADAPTER)}
        ours.client.post("/adapters", json=registration).raise_for_status()
        rates = _measure(ours, plain, blocks)
    before = rates.pop("")
    lines = [
        f"# Ray Serve LLM {VERSION} with this package and without it",
        "",
        f"Requests for one token per second, of {CLIENTS} clients: the median of "
        f"{blocks} blocks of {CLIENTS * REQUESTS}.",
        "",
        "| with this package | requests/s | over Ray's own `/v1/completions` |",
        "| --- | --- | --- |",
        f"| (without) | {before:.1f} | 1 |",
        *(
            f"| {title} | {rate:.1f} | {rate / before:.3f} |"
            for title, rate in rates.items()
        ),
        "",
    ]
    print("\n".join(lines))
    if not arguments.quick:
        (HERE / "ray_serve.md").write_text("\n".join(lines))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only see whether it runs")
    return parser.parse_args()


def _measure(ours: RayServer, plain: RayServer, blocks: int) -> dict[str, float]:
    """Return the median rate of each row; that without this package has no title."""
    rows = {"": (plain, _COMPLETIONS, _BODY)}
    rows |= {title: (ours, *row) for title, row in _ROWS.items()}
    rates: dict[str, list[float]] = {title: [] for title in rows}
    for number in range(blocks + 1):
        for title, row in rows.items():
            rate = _send_block(*row)
            if number:  # The first one warms up.
                rates[title].append(rate)
    return {title: statistics.median(each) for title, each in rates.items()}


def _send_block(server: Server, path: str, body: dict[str, Any]) -> float:
    """Return the requests per second of a block."""
    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as threads:
        for sent in [threads.submit(_send, server, path, body) for _ in range(CLIENTS)]:
            sent.result()
    return CLIENTS * REQUESTS / (time.perf_counter() - start)


def _send(server: Server, path: str, body: dict[str, Any]) -> None:
    with server.new_client() as client:
        for _ in range(REQUESTS):
            _post(client, path, body)


def _post(client: httpx.Client, path: str, body: dict[str, Any]) -> None:
    client.post(path, json=body).raise_for_status()


if __name__ == "__main__":
    main()
