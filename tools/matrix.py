"""Write the matrix of compatibility.md: tested features by engine release.

    python tools/matrix.py --run "vllm 0.10.2 CPU" build/results/vllm-0.10.2.xml
    python tools/matrix.py --run "tensorrt-llm 1.2.0 H200" build/results/gpu.xml
    python tools/matrix.py --run stand-ins build/results/test.xml
    python tools/matrix.py --check

A run is the output of `pytest --junitxml`, in one or several files; a test that was run
again counts as in the last of them. The label, ENGINE RELEASE HARDWARE, names what the
tests of a real engine ran on. Tests of stand-ins name their release in their ids and
are read whatever the label is.

docs/reference/results.json stores the results. A new run replaces the old one of the
same engine, release and hardware. Without --run, the table is rewritten from the stored
results; with --check, nothing is written, and the exit status is 1 if the table is not
current.
"""

import argparse
import json
from pathlib import Path

from matrix_runs import Run, Runs, Target, condense, contains, stand_in, version
from matrix_tables import (
    ABSENT,
    ACTIVATIONS,
    ALIKE,
    ENGINES,
    FEATURES,
    READ,
    RELEASES,
    STAND_IN,
    STAND_INS,
)
from pages import with_part

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference" / "compatibility.md"
PART = "matrix"
COLUMNS = (*ACTIVATIONS, *FEATURES)
LEGEND = """\
`run`: its tests pass on the engine itself, on that hardware; `stand-in`: on a package
laid out as the release is; `source`: read in its source; `-`: not available;
`?`: unknown; `failed`: a test fails. hook is `import mhcs.auto`, `.pth` a variable."""


def main() -> None:
    arguments = parse_arguments()
    page, results = arguments.page, arguments.results
    runs = load_runs(results)
    for label, *files in arguments.run:
        runs |= condense(label, files)
    before = read(page)
    after = with_part(before, PART, matrix(runs), page)
    if arguments.check:
        expect_same(before, after, page, results)
    if arguments.run:
        save_runs(runs, results)
    if before != after:
        page.write_text(after)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--run", nargs="+", action="append", default=[], metavar=("LABEL", "XML")
    )
    what.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument(
        "--results", type=Path, default=ROOT / "docs/reference/results.json"
    )
    return parser.parse_args()


def expect_same(before: str, after: str, page: Path, results: Path) -> None:
    if before != after:
        raise SystemExit(
            f"The matrix in {page} does not match {results}: write it with "
            "`python tools/matrix.py`."
        )


# --- files -------------------------------------------------------------------------


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise SystemExit(f"{path} cannot be read: {error.strerror}.") from None


def load_runs(path: Path) -> Runs:
    try:
        return dict(load_run(**entry) for entry in json.loads(read(path)))
    except (TypeError, ValueError) as error:
        raise SystemExit(
            f"{path} is not a list of runs: {error}. Correct it, or replace its "
            "content by [] and read the runs again."
        ) from None


def load_run(
    date: str, tests: dict[str, dict[str, int]], **target: str
) -> tuple[Target, Run]:
    return Target(**target), Run(date, tests)


def save_runs(runs: Runs, path: Path) -> None:
    ordered = sorted(runs.items(), key=lambda item: order(item[0]))
    entries = [{**target._asdict(), **run._asdict()} for target, run in ordered]
    path.write_text(json.dumps(entries, indent=2) + "\n")


# --- the table ---------------------------------------------------------------------


def matrix(runs: Runs) -> str:
    return "\n\n".join([*(table(engine, runs) for engine in ENGINES), LEGEND])


def table(engine: str, runs: Runs) -> str:
    head = [ENGINES[engine], "like", *COLUMNS]
    rows = [row(target, runs) for target in targets(engine, runs)]
    return "\n".join(map(line, [head, ["---"] * len(head), *rows]))


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def targets(engine: str, runs: Runs) -> list[Target]:
    """Return all tested targets, and the listed releases that were not tested."""
    real = [run for run in runs if run.engine == engine and run.hardware != STAND_IN]
    # A test of 1.2.0 counts for 1.2.
    releases = [f"{target.release}." for target in real]
    missing = [
        Target(engine, release, "")
        for release in RELEASES[engine]
        if not any(known.startswith(f"{release}.") for known in releases)
    ]
    return sorted([*real, *missing], key=order)


def order(target: Target) -> tuple[str, bool, tuple[int, ...], Target]:
    stands_in = target.hardware == STAND_IN
    return target.engine, stands_in, version(target.release), target


def row(target: Target, runs: Runs) -> list[str]:
    name = f"{target.release} {target.hardware}".strip()
    like = (name for span, name in ALIKE.items() if contains(span, target))
    return [name, next(like, ""), *(cell(target, column, runs) for column in COLUMNS)]


def cell(target: Target, column: str, runs: Runs) -> str:
    """Return the most reliable result; a failure outranks less reliable ones."""
    layouts = (name for name, span in STAND_INS.items() if contains(span, target))
    standing_in = [runs.get(stand_in(name)) for name in layouts]
    known = fact(target, column)
    return (
        verdict(runs.get(target), column, "run")
        or (known if known == ABSENT else "")
        or next((verdict(run, column, STAND_IN) for run in standing_in), "")
        or known
        or "?"
    )


def verdict(run: Run | None, column: str, word: str) -> str:
    tests = run.tests.get(column, {}) if run else {}
    if tests.get("failed"):
        return "failed"
    return word if tests.get("passed") else ""


def fact(target: Target, column: str) -> str:
    known = (facts for span, facts in READ.items() if contains(span, target))
    return next((facts[column] for facts in known if column in facts), "")


if __name__ == "__main__":
    main()
