"""Compares /invocations with /v1/completions on a real vLLM under load.

``--quick`` only checks that everything runs. Benchmarks are not tests: results never
make them fail.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

from load import NAMES, PAIRS, Outcome, Pair, run
from real import MODEL, ROOT, adapter_path, serve
from servers import Server
from serving_report import Rounds, write_serving

HERE: Final = Path(__file__).resolve().parent
# Without prefix caching, which would have cached the prompts of the previous run.
_OPTIONS: Final = ("--max-loras=8", "--max-cpu-loras=16", "--no-enable-prefix-caching")


def main() -> None:
    arguments = _parse_arguments()
    rounds, requests = (1, 64) if arguments.quick else (7, 1000)
    _make_adapters()
    with serve(*_OPTIONS) as server:
        _register(server)
        measured = _measure(server, rounds, requests)
    path = (ROOT / "build" if arguments.quick else HERE) / "serving.md"
    print(write_serving(path, measured, requests))
    print(f"this and more is in {path.relative_to(ROOT)}")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="only see whether it runs, in minutes"
    )
    return parser.parse_args()


def _make_adapters() -> None:
    tool = ROOT / "tools" / "tiny_model.py"
    loras = [part for name in NAMES for part in ("--lora", name)]
    subprocess.run([sys.executable, tool, MODEL, *loras], check=True)


def _register(server: Server) -> None:
    for name in NAMES:
        adapter = {"name": name, "src": adapter_path(name)}
        server.client.post("/adapters", json=adapter).raise_for_status()


def _measure(server: Server, rounds: int, requests: int) -> Rounds:
    found: dict[Pair, list[tuple[Outcome, Outcome]]] = {pair: [] for pair in PAIRS}
    for number in range(rounds):
        for pair, outcomes in found.items():
            print(f"round {number + 1} of {rounds}: {pair.ours.title}", flush=True)
            outcomes.append(_measure_pair(pair, server, requests, number))
    return found


def _measure_pair(
    pair: Pair, server: Server, requests: int, number: int
) -> tuple[Outcome, Outcome]:
    if number % 2:
        ours = run(pair.ours, server, requests, number)
        return run(pair.engine, server, requests, number), ours
    engines = run(pair.engine, server, requests, number)
    return engines, run(pair.ours, server, requests, number)


if __name__ == "__main__":
    main()
