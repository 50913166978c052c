"""Load on a server, as ``vllm bench serve`` makes it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from real import ADAPTER, MODEL, VLLM
from servers import Server, environment

CLIENTS: Final = 32
NAMES: Final = tuple(f"serving-{number}" for number in range(1, 9))
_V1: Final = "/v1/completions"
# It wants a path that ends so, and the server does not look at the query.
_INVOCATIONS: Final = f"/invocations?as={_V1}"
_LENGTHS: Final = ("--random-input-len=32", "--random-output-len=32", "--ignore-eos")


@dataclass(frozen=True, slots=True)
class Load:
    """Requests of one kind, and what ``vllm bench serve`` is told to send them."""

    title: str
    endpoint: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one run: throughputs in 1/s, latencies of whole requests in milliseconds.

    ``cpu`` are the milliseconds that the process of the routes computed for a request.
    """

    requests: float
    tokens: float
    median: float
    p99: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Pair:
    """The same requests to the engine's route, and to ours."""

    engine: Load
    ours: Load


_BY_MODEL: Final = ("--lora-assignment=round-robin", "--lora-modules", *NAMES)
_ONE_BY_MODEL: Final = ("--lora-modules", NAMES[0])
_BY_HEADER: Final = ("--header", f"{ADAPTER}={NAMES[0]}")
# Never the base model and adapters in one run: on a CPU, vLLM 0.32 answers requests for
# the base model wrongly that it computes together with those for adapters.
PAIRS: Final = (
    Pair(
        Load("base model, `/v1/completions`", _V1),
        Load("base model, `/invocations`", _INVOCATIONS),
    ),
    Pair(
        Load("8 adapters by `model`, `/v1/completions`", _V1, _BY_MODEL),
        Load("8 adapters by `model`, `/invocations`", _INVOCATIONS, _BY_MODEL),
    ),
    Pair(
        Load("one adapter by `model`, `/v1/completions`", _V1, _ONE_BY_MODEL),
        Load("one adapter by our header, `/invocations`", _INVOCATIONS, _BY_HEADER),
    ),
)


def run(load: Load, server: Server, requests: int, seed: int) -> Outcome:
    """Send so many requests, and return how it went. The seed makes the prompts.

    Raises:
        SystemExit: the command failed, or not all of them were answered.
    """
    before = _computed(server.pid)
    with tempfile.TemporaryDirectory() as folder:
        result = ["--save-result", "--result-dir", folder, "--result-filename=result"]
        command = [*_command(server.url, requests, seed), *result]
        _execute([*command, "--endpoint", load.endpoint, *load.arguments])
        found = json.loads(Path(folder, "result").read_text())
    if found["completed"] != requests:
        raise SystemExit(f"{load.title}: {requests - found['completed']} failed")
    return Outcome(
        found["request_throughput"],
        found["output_throughput"],
        found["median_e2el_ms"],
        found["p99_e2el_ms"],
        (_computed(server.pid) - before) / (CLIENTS + requests),
    )


def _execute(command: list[str]) -> None:
    done = subprocess.run(
        command,
        env=environment({"HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}),
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise SystemExit(f"{command} ended\n{done.stdout.decode()}")


def _computed(pid: int) -> float:
    """Return the milliseconds a process has computed, without its children."""
    _, _, fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    user, system = fields.split()[11:13]
    return (int(user) + int(system)) * 1000 / os.sysconf("SC_CLK_TCK")


def _command(url: str, requests: int, seed: int) -> list[str]:
    model = ["--model", str(MODEL), "--served-model-name=tiny", "--temperature=0"]
    numbers = [f"--num-prompts={requests}", f"--max-concurrency={CLIENTS}"]
    quiet = ["--disable-tqdm", "--percentile-metrics=e2el"]
    return [
        *(VLLM, "bench", "serve", "--backend=openai", "--base-url", url),
        *(*model, "--dataset-name=random", *_LENGTHS),
        *(*numbers, f"--num-warmups={CLIENTS}", f"--seed={seed}", *quiet),
    ]
