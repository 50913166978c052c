"""Counts the instructions of each layer of a request, which load does not change.

A layer's count is that of a request to it, less that of a request to the next layer
inside it, so that it includes what the layer adds to ``receive`` and ``send``. Needs
valgrind, and the development tools' environment. Pass names of cases of `traffic.py`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from sides import PLAIN_ENVIRON
from tables import table
from traffic import CASES

_HERE: Final = Path(__file__).resolve().parent
_CALLS: Final = 100
_THOUSAND: Final = 1000
_TOTAL: Final = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)

#: Thousands of instructions by layer, and of the whole request as "".
Counts = Mapping[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    names = parser.add_argument("cases", nargs="*", default=["small"], metavar="CASE")
    names.choices = [*CASES, "small"]
    for name in parser.parse_args().cases:
        print(f"\n{CASES[name].title}, in thousands of instructions\n")
        print(show(count_layers(name)), flush=True)


def count_layers(case: str) -> dict[str, Counts]:
    """Return the counts of the bare and of the decorated app.

    Raises:
        subprocess.CalledProcessError: the requests failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "callgrind"
        callgrind = ["--tool=callgrind", "--dump-before=sched_yield"]
        output = [f"--callgrind-out-file={file}", "--log-file=/dev/null"]
        script = [str(_HERE / "layers_worker.py"), case, str(_CALLS)]
        done = subprocess.run(
            ["valgrind", *callgrind, *output, sys.executable, *script],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            # Equal hashes in all runs, as the time of look-ups depends on them.
            env={**PLAIN_ENVIRON, "PYTHONHASHSEED": "0"},
        )
        counts = iter(_totals(file)[1::2])
    layers: dict[str, list[str]] = json.loads(done.stdout)
    return {
        app: dict(_differences(names, [next(counts) for _ in names]))
        for app, names in layers.items()
    }


def _totals(file: Path) -> list[int]:
    """Return the instructions of each of callgrind's files, in their order."""
    files = sorted(file.parent.glob(f"{file.name}.*"), key=lambda f: int(f.suffix[1:]))
    return [int(_TOTAL.findall(part.read_text())[-1]) for part in files]


def _differences(
    names: Sequence[str], totals: Sequence[int]
) -> Iterator[tuple[str, float]]:
    unit = _CALLS * _THOUSAND
    yield "", totals[0] / unit
    for name, (outer, inner) in zip(names, pairwise([*totals, 0]), strict=True):
        yield name, (outer - inner) / unit


def show(counts: Mapping[str, Counts]) -> str:
    """Return a table; an app's last layer includes all that is inside it."""
    rows = [(app, *item) for app in counts for item in counts[app].items()]
    cells = ([app, name or "all", f"{count:.1f}"] for app, name, count in rows)
    return table(["app", "layer", "instructions"], cells)


if __name__ == "__main__":
    main()
