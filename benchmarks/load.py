"""Generates load on a server with ``vllm bench serve``."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from api_servers import cpu_time
from real import ADAPTER, MODEL, VLLM
from servers import Server, environment

CLIENTS: Final = 32
NAMES: Final = tuple(f"serving-{number}" for number in range(1, 9))
_V1: Final = "/v1/completions"
# The command requires a path with this ending; the server ignores the query.
_INVOCATIONS: Final = f"/invocations?as={_V1}"
_LENGTHS: Final = ("--random-input-len=32", "--random-output-len=32", "--ignore-eos")


@dataclass(frozen=True, slots=True)
class Load:
    """A kind of requests, and the arguments of ``vllm bench serve`` for them."""

    title: str
    endpoint: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run's throughputs in 1/s, and latencies of complete requests in milliseconds.

    ``cpu`` is the CPU time of the API server's process per request, in milliseconds.
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
# Never the base model and adapters in one run: on a CPU, vLLM 0.32 returns wrong
# results for the base model if requests for adapters are in the same batch.
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
    """Send requests with prompts from ``seed``, and return the measured values.

    Raises:
        SystemExit: the command failed, or not all requests succeeded.
    """
    before = cpu_time(server.pid)
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
        (cpu_time(server.pid) - before) / (CLIENTS + requests),
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


def _command(url: str, requests: int, seed: int) -> list[str]:
    model = ["--model", str(MODEL), "--served-model-name=tiny", "--temperature=0"]
    numbers = [f"--num-prompts={requests}", f"--max-concurrency={CLIENTS}"]
    quiet = ["--disable-tqdm", "--percentile-metrics=e2el"]
    return [
        *(VLLM, "bench", "serve", "--backend=openai", "--base-url", url),
        *(*model, "--dataset-name=random", *_LENGTHS),
        *(*numbers, f"--num-warmups={CLIENTS}", f"--seed={seed}", *quiet),
    ]
