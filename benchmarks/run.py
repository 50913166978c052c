"""Compares our package and the published one with the bare app, for the documentation.

``--quick`` only checks that everything runs. Failed measurements are reported and left
out; the exit status is always 0, as benchmarks are not tests.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from changes import Run, describe, describe_load, find_changes, read_run, write_run
from comparison import Effort, compare
from environments import FOLDER, ROOT, WITH_START_FILES, WITHOUT_START_FILES
from interpreter import measure_imports, measure_starts
from operations import COUNTS, Operations, measure_operations
from picture import draw
from report import Row, import_row, request_rows, start_rows, write_results
from session_operations import measure_sessions
from sides import SIDES, InProcess, OverLoopback, Side
from traffic import CASES

HERE: Final = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    ``sessions`` is the number of processes that create sessions, each with ``expired``
    expired ones. All other fields are repetitions.
    """

    in_process: Effort
    loopback: Effort
    operations: int
    sessions: int
    expired: int
    imports: int
    starts: int


FULL: Final = Plan(
    in_process=Effort(4, 5, 4),
    loopback=Effort(3, 5, 4),
    operations=100,
    sessions=3,
    expired=3000,
    imports=25,
    starts=200,
)
QUICK: Final = Plan(
    in_process=Effort(1, 1, 1),
    loopback=Effort(1, 1, 1),
    operations=3,
    sessions=1,
    expired=100,
    imports=1,
    starts=5,
)


def main() -> None:
    quick = _parse_arguments().quick
    plan = QUICK if quick else FULL
    # Before our own work is a part of it.
    warning = describe_load()
    sides = [side for side in SIDES if _make(side)]
    rows = list(_measure(plan, sides))
    adapters = dict(_measure_adapters(plan.operations))
    sessions = dict(_measure_sessions(plan, sides))
    folder = FOLDER if quick else HERE
    print(write_results(folder / "results.md", rows, adapters, sessions, sides))
    draw(folder / "results.svg", rows)
    compare_runs(folder / "results.json", {row.title: row.measured for row in rows})
    print(warning)
    print(f"results.md, .svg and .json are in {folder.relative_to(ROOT)}/")


def compare_runs(path: Path, after: Run) -> None:
    """Say what became slower than in the stored run, and replace it."""
    if (stored := read_run(path)) is not None:
        before, revision = stored
        print(describe([*find_changes(before, after)], revision))
    write_run(path, after)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="only see whether it runs, in seconds"
    )
    return parser.parse_args()


def _make(side: Side) -> bool:
    with _reported(f"environment of {side.name}"):
        side.environment.make()
        return True
    return False


def _measure(plan: Plan, sides: Sequence[Side]) -> Iterator[Row]:
    cases = list(CASES.values())
    small = [case for case in cases if case.name.startswith("small")]
    with _reported("requests"):
        print("measuring requests", flush=True)
        figures = compare(InProcess, sides, cases, plan.in_process)
        yield from request_rows("", figures, cases, sides)
    with _reported("requests through uvicorn"):
        print("measuring requests through uvicorn", flush=True)
        figures = compare(OverLoopback, sides, small, plan.loopback)
        yield from request_rows(", uvicorn", figures, small, sides)
    with _reported("imports"):
        print("measuring imports", flush=True)
        yield import_row(measure_imports(plan.imports, sides))
    with _reported("starts of Python"):
        print("measuring starts of Python", flush=True)
        WITH_START_FILES.make()
        WITHOUT_START_FILES.make()
        yield from start_rows(measure_starts(plan.starts))


def _measure_adapters(rounds: int) -> Iterator[tuple[int, Operations]]:
    with _reported("operations on adapters"):
        print("measuring operations on adapters", flush=True)
        for count in COUNTS:
            yield count, measure_operations(rounds, count)


def _measure_sessions(
    plan: Plan, sides: Sequence[Side]
) -> Iterator[tuple[str, Operations]]:
    with _reported("sessions"):
        print("measuring sessions", flush=True)
        for side in sides:
            yield side.name, measure_sessions(plan.sessions, plan.expired, side)


@contextmanager
def _reported(what: str) -> Iterator[None]:
    """Report a process that failed and continue without its numbers."""
    try:
        yield
    except (OSError, subprocess.SubprocessError) as error:
        print(f"{what}: not measured: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
