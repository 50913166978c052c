"""Measures what the package adds to the start of Python and to import time."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Final

from environments import WITH_START_FILES, WITHOUT_START_FILES, Environment
from sides import PLAIN_ENVIRON, Side

_MILLISECONDS: Final = 1e6
# fastapi is imported first, as in every server that uses the package.
_IMPORT: Final = """
import fastapi, time
start = time.perf_counter()
import model_hosting_container_standards.sagemaker
print((time.perf_counter() - start) * 1000)
"""
_STARTS: Final[Mapping[str, tuple[Environment, Mapping[str, str]]]] = {
    "bare": (WITHOUT_START_FILES, {}),
    "off": (WITH_START_FILES, {}),
    "armed": (WITH_START_FILES, {"MHCS_AUTO": "1"}),
}


def measure_imports(rounds: int, sides: Sequence[Side]) -> dict[str, list[float]]:
    """Return the import times in milliseconds by side, one for each round."""
    times: dict[str, list[float]] = {side.name: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            times[side.name].append(_time_import(side.environment))
    return times


def measure_starts(rounds: int) -> dict[str, list[float]]:
    """Return the times of ``python -c pass`` in milliseconds, one for each round.

    Without our start files ("bare"), and with them "off" and "armed".
    """
    times: dict[str, list[float]] = {name: [] for name in _STARTS}
    for _ in range(rounds):
        for name, (environment, variables) in _STARTS.items():
            times[name].append(_time_start(environment, variables))
    return times


def _time_import(environment: Environment) -> float:
    command = [environment.python, "-c", _IMPORT]
    done = subprocess.run(
        command, env=PLAIN_ENVIRON, check=True, stdout=subprocess.PIPE, text=True
    )
    return float(done.stdout)


def _time_start(environment: Environment, variables: Mapping[str, str]) -> float:
    arguments = [environment.python, "-c", "pass"]
    start = time.perf_counter_ns()
    child = os.posix_spawn(arguments[0], arguments, {**PLAIN_ENVIRON, **variables})
    _, status = os.waitpid(child, 0)
    taken = time.perf_counter_ns() - start
    if status:
        raise ChildProcessError(f"{arguments} ended with {status}")
    return taken / _MILLISECONDS
