"""Compares figures with those of an earlier run, stored in ``results.json``."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

#: The least change that counts, as a part of the figure. The starts of one run can be
#: closer together than those of two runs.
_LEAST: Final = 0.02
_PARTS: Final = 4
#: The side whose code is the same in all runs: what it changes by is noise.
_CONTROL: Final = "published"


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure, and the least and the greatest among repetitions of its measurement."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Measured:
        """Return the median; the repetitions are quarters of the samples, in turns."""
        parts = [samples[start::_PARTS] for start in range(_PARTS)]
        medians = [median(part) for part in parts if part]
        return cls(median(samples), min(medians), max(medians))


#: Measured figures by their title and the side.
Run = Mapping[str, Mapping[str, Measured]]


@dataclass(frozen=True, slots=True)
class Change:
    """A figure of two runs.

    Args:
        control: by which part the figure of a side whose code is the same has changed.
    """

    title: str
    before: Measured
    after: Measured
    control: float = 0.0

    @property
    def noise(self) -> float:
        """How far two measurements of the same code may be apart."""
        spreads = [run.high - run.low for run in (self.before, self.after)]
        return max(*spreads, max(_LEAST, self.control) * self.before.value)

    @property
    def is_slower(self) -> bool:
        return self.after.value - self.before.value > self.noise

    @property
    def is_faster(self) -> bool:
        return self.before.value - self.after.value > self.noise

    def __str__(self) -> str:
        values = f"{self.before.value:.2f} -> {self.after.value:.2f}"
        return f"{self.title}: {values} (noise {self.noise:.2f})"


def find_changes(before: Run, after: Run) -> Iterator[Change]:
    """Yield the figures of our sides that both runs have."""
    for title, sides in after.items():
        old = before.get(title, {})
        control = _relative_change(old.get(_CONTROL), sides.get(_CONTROL))
        for side, measured in sides.items():
            if side in old and side != _CONTROL:
                yield Change(f"{title}, {side}", old[side], measured, control)


def _relative_change(before: Measured | None, after: Measured | None) -> float:
    if before is None or after is None:
        return 0.0
    return abs(after.value / before.value - 1)


def describe(changes: Sequence[Change], revision: str) -> str:
    """Return what became slower or faster than in the run of a revision."""
    slower = [f"SLOWER  {change}" for change in changes if change.is_slower]
    faster = [f"faster  {change}" for change in changes if change.is_faster]
    same = len(changes) - len(slower) - len(faster)
    summary = (
        f"compared with {revision}: {len(slower)} slower and {len(faster)} faster by "
        f"more than the noise, {same} the same"
    )
    return "\n".join([*slower, *faster, summary])


def describe_load() -> str:
    """Return a warning if other processes use the machine; else an empty text."""
    load, count = os.getloadavg()[0], os.cpu_count() or 1
    if load < count / 2:
        return ""
    return (
        f"This machine has other work (load {load:.1f} on {count} CPUs): compare "
        "figures of runs on a quiet one."
    )


def read_run(path: Path) -> tuple[Run, str] | None:
    """Return a stored run, and the revision that it measured; None without a file."""
    if not path.exists():
        return None
    stored = json.loads(path.read_text())
    figures = {
        title: {side: Measured(**values) for side, values in sides.items()}
        for title, sides in stored["figures"].items()
    }
    return figures, stored["revision"]


def write_run(path: Path, run: Run) -> None:
    """Store a run, with the revision of the working tree."""
    figures = {
        title: {side: asdict(measured) for side, measured in sides.items()}
        for title, sides in run.items()
    }
    stored = {"revision": _revision(path.parent), "figures": figures}
    path.write_text(json.dumps(stored, indent=1) + "\n")


def _revision(folder: Path) -> str:
    """Return the commit that is checked out; a plus follows if files have changed."""
    command = ["git", "describe", "--always", "--abbrev=10", "--dirty=+"]
    done = subprocess.run(
        command,
        cwd=folder,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return done.stdout.strip() or "an unknown revision"
