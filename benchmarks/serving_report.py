"""Writes the results of a real vLLM under load as the page ``serving.md``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from load import CLIENTS, Load, Outcome, Pair
from tables import describe_packages, table

#: Rounds of each pair: the outcomes of the engine's route and of ours.
Rounds = Mapping[Pair, Sequence[tuple[Outcome, Outcome]]]

_TARGET: Final = 0.99
_RATIOS: Final = (
    "over `/v1/completions`",
    "throughput, at least",
    "throughput",
    "rounds",
    "CPU",
)
_HEADINGS: Final = (
    "load",
    "requests/s",
    "output tokens/s",
    "latency, median",
    "latency, 99 %",
    "CPU",
)


def write_serving(path: Path, rounds: Rounds, requests: int) -> str:
    """Write the page; return its tables."""
    ratios = table(
        _RATIOS,
        (_ratios(pair.ours, found) for pair, found in rounds.items()),
    )
    absolute = table(_HEADINGS, _absolute(rounds))
    count = min(len(found) for found in rounds.values())
    notes = _NOTES.format(clients=CLIENTS, requests=requests, rounds=count)
    path.write_text(
        "\n\n".join([_TITLE, ratios, absolute, describe_packages(), notes]) + "\n"
    )
    return f"{ratios}\n\n{absolute}"


def _ratios(ours: Load, found: Sequence[tuple[Outcome, Outcome]]) -> list[str]:
    ratios = [our.requests / engines.requests for engines, our in found]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    cpu = median(our.cpu / engines.cpu for engines, our in found)
    numbers = [f"{median(ratios):.3f}", spread, f"{cpu:.3f}"]
    return [ours.title, f"{_TARGET:.2f}", *numbers]


def _absolute(rounds: Rounds) -> Iterator[list[str]]:
    for pair, found in rounds.items():
        engines, ours = zip(*found, strict=True)
        yield _line(pair.engine, engines)
        yield _line(pair.ours, ours)


def _line(load: Load, outcomes: Sequence[Outcome]) -> list[str]:
    return [
        load.title,
        f"{median(outcome.requests for outcome in outcomes):.1f}",
        f"{median(outcome.tokens for outcome in outcomes):,.0f}",
        f"{median(outcome.median for outcome in outcomes):,.0f} ms",
        f"{median(outcome.p99 for outcome in outcomes):,.0f} ms",
        f"{median(outcome.cpu for outcome in outcomes):.2f} ms",
    ]


_TITLE: Final = """\
# A real vLLM under load

Written by `make bench-serving`. One `vllm serve` of a tiny Llama with random weights,
loaded by `vllm bench serve`: `/invocations` compared with the engine's own route."""
_NOTES: Final = """\
How it is measured:

- Server: `--enable-lora --max-loras 8 --max-cpu-loras 16 --max-lora-rank 8`, without a
  cache of prefixes. The adapters are registered by `POST /adapters`.
- Load: {clients} clients, {requests} requests a run, streamed, with 32 tokens in and 32
  tokens out. Requests to 8 adapters take turns. Client and server share the CPUs.
- The two routes of a pair get the same prompts, one after the other, and take turns;
  {rounds} round(s). A number is the median of all rounds, a ratio the median of theirs;
  a latency is that of a whole request.
- "CPU" is the API server's CPU time per request; the engine is another process. It is
  more reliable than the throughput on a machine with other load.
- A tiny model shows the highest relative cost of the routes: a large one takes longer
  for the same requests, the routes do not."""
