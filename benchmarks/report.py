"""Formats the results as rows, and writes them as tables of ``results.md``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from changes import Measured
from comparison import Figure, Figures
from environments import COMMON_FASTAPI, Environment
from operations import Operations
from sides import Side
from tables import describe_machine, table
from traffic import Case

_VERSIONED: Final = (
    "model-hosting-container-standards",
    "fastapi",
    "starlette",
    "pydantic",
    "uvicorn",
    "uvloop",
    "httptools",
    "msgspec",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the tables: a target, and what each side reached.

    ``measured`` has a number for each side that was measured, as ``unit`` says: a ratio
    ("x") or milliseconds ("ms"). ``cells`` are the absolute numbers.
    """

    title: str
    target: float
    measured: Mapping[str, Measured]
    unit: str = "x"
    cells: Mapping[str, str] = field(default_factory=dict)

    @property
    def values(self) -> Mapping[str, float]:
        return {side: measured.value for side, measured in self.measured.items()}

    def show(self, value: float | None) -> str:
        if value is None:
            return "-"
        return f"{value:.0f} ms" if self.unit == "ms" else f"{value:.2f}"


def request_rows(
    label: str, figures: Figures, cases: Iterable[Case], sides: Sequence[Side]
) -> Iterator[Row]:
    """Yield a row for each case that was measured."""
    for case in cases:
        found = {
            side.name: figures[case.name, side.name]
            for side in sides
            if (case.name, side.name) in figures
        }
        if found:
            measured = {
                name: Measured(figure.ratio, *figure.spread)
                for name, figure in found.items()
            }
            cells = dict(_request_cells(found))
            yield Row(f"{case.title}{label}", case.target, measured, cells=cells)


def _request_cells(figures: Mapping[str, Figure]) -> Iterator[tuple[str, str]]:
    for name, figure in figures.items():
        low, high = figure.spread
        text = f"{figure.bare:,.0f} -> {figure.decorated:,.0f} µs"
        yield name, f"{text} ({low:.2f} to {high:.2f})"


def import_row(milliseconds: Mapping[str, Sequence[float]]) -> Row:
    measured = {name: Measured.of(taken) for name, taken in milliseconds.items()}
    cells = {name: f"{found.value:.1f} ms" for name, found in measured.items()}
    title = "`import ….sagemaker` after `import fastapi`"
    return Row(title, 15, measured, "ms", cells)


def start_rows(milliseconds: Mapping[str, Sequence[float]]) -> Iterator[Row]:
    bare = milliseconds["bare"]
    for name, target in (("off", 1.05), ("armed", 1.15)):
        taken = milliseconds[name]
        ratio = Measured.of([a / b for a, b in zip(taken, bare, strict=True)])
        cells = {"ours": f"{median(bare):.1f} -> {median(taken):.1f} ms"}
        title = f"`python -c pass` with `mhcs.pth`, {name}"
        yield Row(title, target, {"ours": ratio}, cells=cells)


def write_results(
    path: Path,
    rows: Sequence[Row],
    adapters: Mapping[int, Operations],
    sessions: Mapping[str, Operations],
    sides: Sequence[Side],
) -> str:
    """Write the page of results; return its tables of ratios and of operations.

    Those on adapters are by the number of adapters, those on sessions by the side.
    """
    headings = _headings(sides)
    ratios = table(
        ["measure", "target, at most", *headings.values()],
        (
            [row.title, row.show(row.target)]
            + [row.show(row.values.get(name)) for name in headings]
            for row in rows
        ),
    )
    absolute = table(
        ["measure", *headings.values()],
        ([row.title, *(row.cells.get(name, "-") for name in headings)] for row in rows),
    )
    on_adapters = _operations({f"{k:,} adapters": v for k, v in adapters.items()})
    on_sessions = _operations({headings[k]: v for k, v in sessions.items()})
    parts = [_INTRODUCTION, ratios, _ABSOLUTE, absolute]
    parts += [_ADAPTERS, on_adapters, _SESSIONS, on_sessions]
    parts += [_MEASURED, _versions(sides), _NOTES]
    path.write_text("\n\n".join(parts) + "\n")
    return f"{ratios}\n\n{on_adapters}\n\n{on_sessions}"


def _operations(columns: Mapping[str, Operations]) -> str:
    names = dict.fromkeys(name for found in columns.values() for name in found)
    return table(
        ["operation", *columns],
        (
            [name, *(_show_time(found.get(name)) for found in columns.values())]
            for name in names
        ),
    )


def _show_time(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "-"
    if milliseconds < 1:
        return f"{milliseconds * 1000:.0f} µs"
    return f"{milliseconds:.2f} ms"


def _headings(sides: Sequence[Side]) -> dict[str, str]:
    return {side.name: _heading(side) for side in sides}


def _heading(side: Side) -> str:
    if side.name == "published":
        return "published 0.1.16"
    if side.name == "ours":
        return "ours"
    return f"ours, FastAPI {side.environment.versions()['fastapi']}"


def _versions(sides: Sequence[Side]) -> str:
    lines = [f"- {_heading(side)}: {_installed(side.environment)}" for side in sides]
    return "\n".join([describe_machine(), "", *lines])


def _installed(environment: Environment) -> str:
    found = {
        name.lower().replace("_", "-"): version
        for name, version in environment.versions().items()
    }
    return ", ".join(f"{name} {found[name]}" for name in _VERSIONED if name in found)


_INTRODUCTION: Final = f"""\
# Benchmarks

Written by `make bench`. Ratios to the bare app, which is the same app without a
package for SageMaker; below 1 is faster than without. Both packages are measured on
FastAPI {COMMON_FASTAPI}, as newer ones lose the handlers of the published one, each in
an environment of its own; ours is measured on the newest FastAPI as well.

![The ratios as bars](results.svg)"""
_ABSOLUTE: Final = """\
The same as absolute numbers: bare -> with the package, and in parentheses the least and
the greatest ratio among the process starts."""
_ADAPTERS: Final = """\
## Adapters

Times of our package for operations on adapters, by the number of registered ones."""
_SESSIONS: Final = """\
## Sessions

How long it takes to create a session, how long that blocks the event loop, and how long
a handler waits for a session's values."""
_MEASURED: Final = "## How it is measured"
_NOTES: Final = """\
- `/ping` and `/invocations` are decorated in vLLM's way and included from an
  `APIRouter`; a dependency checks the content type; the handler awaits
  `raw_request.json()` and answers with a small JSON object.
- Requests have 12 headers, and the adapter's one. The small body is a chat request of
  some 300 bytes; "1 MB prompt" is a JSON object with one long prompt (ASCII text with
  line ends and quotes), "10 MB prompt" the same with a longer one; "1 MB of messages"
  has some 10,000 small chat messages.
- Requests call the ASGI app directly, with the body in messages of 64 KiB, and are
  timed in CPU time; where it says uvicorn, they come over a kept-alive connection on
  the loopback interface (uvloop, httptools, no access log), one after the other, and
  are timed by the clock.
- The bare and the decorated app are measured alternately in one process, the sides'
  processes alternately too, and each process is started several times. A number is the
  median of all rounds; a ratio the median of the rounds' ratios. The garbage collector
  runs as in vLLM: on, with all objects frozen that exist before the first request.
- Formatters and the throttle function are async and return their input unchanged: the
  request, the response, the result of `call_next`. "200 chunks" is a stream of 200
  events of some 60 bytes, which the handler yields without waiting.
- "Of a session": sessions are on, and the request has the header of an existing one;
  sessions are stored in a temporary folder.
- "Ids and metrics" are always on: each request is counted and gets an id, which is
  passed to the engine and returned. "All operations" adds an API key, a limit of the
  body's size and JSON logs; "a span" of OpenTelemetry is recorded but not exported.
  These are compared with the decorated app without any of them, not with the bare one.
- "Registered adapters" belong to an engine that does nothing and caches 16 of them: the
  request leases its adapter and, if more are registered than the engine caches, checks
  that the adapter's files exist. Without an engine, the header is only written into the
  body.
- Operations on adapters are requests, measured in wall-clock time: two processes of one
  server share a table in a temporary folder and are used alternately. The engine does
  nothing here either: the time of a real one to load an adapter is not included.
- Sessions are created by requests, one after the other, measured in wall-clock time.
  Those that expire were created before and not used since. A stall is the delay of a
  task on the event loop that repeatedly sleeps for a millisecond.
- Imports and starts of Python are medians over fresh processes, which take turns;
  `mhcs.pth` is compared with the same environment without that file."""
