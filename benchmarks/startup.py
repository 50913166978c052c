"""Measures the time from a command to ``/ping``, on a real vLLM with a tiny model.

``mhcs serve`` is compared with ``vllm serve``, with the published package and with
ours. ``--quick`` only checks that everything runs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import ClassVar, Final

from environments import FOLDER, PUBLISHED_PACKAGE
from real import OPTIONS, STARTUP, VLLM, VllmServer, tiny_model
from tables import describe_packages, table

HERE: Final = Path(__file__).resolve().parent
_MHCS: Final = str(Path(sys.executable).with_name("mhcs"))
_TARGET: Final = 1.02
#: An import path with nothing but the published package.
_PUBLISHED: Final = FOLDER / "published-package"
_PLAIN: Final = "`vllm serve`, published package"
_OURS: Final = "`vllm serve`, ours"
_SERVE: Final = "`mhcs serve`"
_VARIABLES: Final = "`mhcs serve`, options by variables"


class StartedServer(VllmServer):
    """A server that is asked often whether it is ready."""

    poll_s: ClassVar[float] = 0.02


def main() -> None:
    rounds = 1 if _parse_arguments().quick else 9
    _install_published()
    commands = _commands(tiny_model())
    seconds: dict[str, list[float]] = {title: [] for title in commands}
    for number in range(rounds + 1):
        for title, (command, env) in commands.items():
            taken = _start(command, env)
            print(f"{title}: {taken:.1f} s", flush=True)
            if number:  # The first ones read from the disk.
                seconds[title].append(taken)
    text = _report(seconds)
    print(text)
    if rounds > 1:
        (HERE / "startup.md").write_text(text)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only see whether it runs")
    return parser.parse_args()


def _install_published() -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
    command = [*pip, "--target", str(_PUBLISHED), PUBLISHED_PACKAGE]
    subprocess.run(command, check=True)


def _commands(model: str) -> Mapping[str, tuple[Sequence[str], Mapping[str, str]]]:
    """Return the commands to compare, with their variables, by title."""
    vllm = [VLLM, "serve", model, *OPTIONS]
    names = [option.removeprefix("--").partition("=") for option in OPTIONS]
    variables = {
        f"SM_VLLM_{name.upper().replace('-', '_')}": value or "true"
        for name, _, value in names
    }
    return {
        _PLAIN: (vllm, {"PYTHONPATH": f"{_PUBLISHED}:{STARTUP}"}),
        _OURS: (vllm, {}),
        _SERVE: ([_MHCS, "serve", model, *OPTIONS], {}),
        _VARIABLES: ([_MHCS, "serve", model], variables),
    }


def _start(command: Sequence[str], env: Mapping[str, str]) -> float:
    """Start a server; return the seconds until its ``/ping`` answers 200."""
    server = StartedServer(command, env)
    server.ready_path = "/ping"
    began = time.perf_counter()
    with server:
        return time.perf_counter() - began


def _report(seconds: Mapping[str, Sequence[float]]) -> str:
    plain = seconds[_PLAIN]
    rows = [
        [
            title,
            f"{median(found):.1f} s",
            f"{min(found):.1f} to {max(found):.1f} s",
            f"{_ratio(found, plain):.3f}",
        ]
        for title, found in seconds.items()
    ]
    return "\n".join(
        [
            "# Time to the first /ping",
            "",
            "Written by `make bench-startup`: from the command to a `/ping` with",
            f"200, on a real vLLM with a tiny model. The target is {_TARGET}.",
            "",
            table(("command", "median", "rounds", "ratio"), rows),
            "",
            "A ratio is the median of the rounds', in which the commands take turns.",
            describe_packages(),
            "",
        ]
    )


def _ratio(found: Sequence[float], plain: Sequence[float]) -> float:
    return median(one / other for one, other in zip(found, plain, strict=True))


if __name__ == "__main__":
    main()
