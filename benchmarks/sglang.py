"""Compares SGLang's own routes with this package and without it, on a real SGLang.

Both servers run at once; requests go to them in turns, one at a time, and ask for one
token. ``--quick`` only checks that everything runs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from servers import Server
from sglang_server import VERSION, serve

HERE: Final = Path(__file__).resolve().parent
_ONE_TOKEN: Final = {"max_tokens": 1, "temperature": 0}
#: A path and a body for each row of the table.
_ROWS: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "completion": (
        "/v1/completions",
        {**_ONE_TOKEN, "model": "tiny", "prompt": "hello"},
    ),
    "chat": (
        "/v1/chat/completions",
        {
            **_ONE_TOKEN,
            "model": "tiny",
            "messages": [{"role": "user", "content": "hello"}],
        },
    ),
    "its own format": (
        "/generate",
        {"text": "hello", "sampling_params": {"max_new_tokens": 1, "temperature": 0}},
    ),
}


def main() -> None:
    arguments = _parse_arguments()
    rounds = 5 if arguments.quick else 400
    # PYTHONPATH is for the tests' modules and must not reach SGLang.
    env = {"PYTHONPATH": ""}
    with (
        serve(env=env, lora=False) as ours,
        serve(env={**env, "MHCS_DISABLE": "sglang"}, lora=False) as plain,
    ):
        medians = {
            title: _measure(row, ours, plain, rounds) for title, row in _ROWS.items()
        }
    lines = [
        f"# SGLang {VERSION} with this package and without it",
        "",
        f"Median of {rounds} requests for one token, in milliseconds.",
        "",
        "| request | without | with | ratio |",
        "| --- | --- | --- | --- |",
        *(
            f"| {title} | {plain_ms:.2f} | {our_ms:.2f} | {our_ms / plain_ms:.3f} |"
            for title, (our_ms, plain_ms) in medians.items()
        ),
        "",
    ]
    print("\n".join(lines))
    if not arguments.quick:
        (HERE / "sglang.md").write_text("\n".join(lines))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only see whether it runs")
    return parser.parse_args()


def _measure(
    row: tuple[str, dict[str, Any]], ours: Server, plain: Server, rounds: int
) -> tuple[float, float]:
    """Return the median duration with this package and without it, in milliseconds."""
    durations: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 10):
        order = (0, 1) if number % 2 else (1, 0)
        for side in order:
            duration = _request((ours, plain)[side], *row)
            if number >= 10:  # The first ones warm up.
                durations[side].append(duration * 1000)
    return statistics.median(durations[0]), statistics.median(durations[1])


def _request(server: Server, path: str, body: dict[str, Any]) -> float:
    start = time.perf_counter()
    server.client.post(path, json=body).raise_for_status()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
