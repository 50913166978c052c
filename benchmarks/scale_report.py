"""Writes ``scale.md`` and draws ``scale.svg``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from picture import saved_axes
from scale_load import CLIENTS, OURS, V1, Rate
from tables import describe_packages, table

_COLOURS: Final = {V1: "#6e7781", OURS: "#1f883d"}


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured with a number of API servers, adapters or sessions.

    Args:
        rates: by path.
        creation: milliseconds to register an adapter, or to begin a session.
        memory: MB of the API server's process.
    """

    count: int
    rates: Mapping[str, Rate]
    creation: float = 0.0
    memory: float = 0.0


def write_scale(
    folder: Path,
    requests: int,
    servers: Sequence[Point],
    adapters: Sequence[Point],
    sessions: Sequence[Point],
) -> str:
    """Write the page and the picture; return the page's tables."""
    tables = [
        table(_SERVERS, map(_server_row, servers)),
        table(_ADAPTERS, _rows(adapters)),
        table(_SESSIONS, _rows(sessions)),
    ]
    notes = _NOTES.format(clients=CLIENTS, requests=requests)
    text = "\n\n".join([_TITLE, *tables, describe_packages(), notes])
    (folder / "scale.md").write_text(f"{text}\n")
    _draw(folder / "scale.svg", servers, adapters, sessions)
    return "\n\n".join(tables)


def _server_row(point: Point) -> list[str]:
    v1, ours = point.rates[V1], point.rates[OURS]
    return [
        str(point.count),
        *(f"{rate.requests:,.0f}" for rate in (v1, ours)),
        *(f"{rate.cpu:.2f} ms" for rate in (v1, ours)),
        f"{ours.cpu / v1.cpu:.3f}",
    ]


def _rows(points: Sequence[Point]) -> Iterator[list[str]]:
    for point in points:
        v1, ours = point.rates[V1].cpu, point.rates[OURS].cpu
        yield [
            f"{point.count:,}",
            f"{point.creation:.2f} ms",
            f"{v1:.2f} ms",
            f"{ours:.2f} ms",
            f"{point.memory:,.0f} MB",
        ]


def _draw(
    path: Path,
    servers: Sequence[Point],
    adapters: Sequence[Point],
    sessions: Sequence[Point],
) -> None:
    with saved_axes(path, 1, 3, figsize=(9.6, 3.2)) as axes:
        _draw_rates(axes[0], servers, "API servers", lambda rate: rate.requests)
        axes[0].set_xticks([point.count for point in servers])
        axes[0].set_ylabel("requests per second")
        for plot, points, title in (
            (axes[1], adapters, "registered adapters"),
            (axes[2], sessions, "sessions"),
        ):
            _draw_rates(plot, points, title, lambda rate: rate.cpu)
            plot.set_xscale("log")
            plot.set_ylabel("CPU time per request, ms")
        axes[0].legend(frameon=False, loc="lower right")


def _draw_rates(axes: Any, points: Sequence[Point], title: str, value: Any) -> None:
    counts = [point.count for point in points]
    for path, colour in _COLOURS.items():
        values = [value(point.rates[path]) for point in points]
        axes.plot(counts, values, marker="o", markersize=4, color=colour, label=path)
    axes.set_xlabel(title)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)


_SERVERS: Final = (
    "API servers",
    "`/v1/completions`, requests/s",
    "`/invocations`, requests/s",
    "CPU",
    "CPU, `/invocations`",
    "ratio",
)
_ADAPTERS: Final = (
    "registered adapters",
    "registration",
    "CPU, `/v1/completions` with `model`",
    "CPU, `/invocations` with our header",
    "memory",
)
_SESSIONS: Final = (
    "sessions",
    "begin",
    "CPU, `/v1/completions` of no session",
    "CPU, `/invocations` of a session",
    "memory",
)
_TITLE: Final = """\
# How it scales

Written by `make bench-scale`. A real vLLM whose engine returns one token at once,
instead of running the model, so that the API servers have the most to do.

![The same as curves](scale.svg)"""
_NOTES: Final = """\
How it is measured:

- {clients} connections, {requests} requests a block, one token each; medians of the
  blocks. The routes take turns. Client, API servers and engine share the CPUs.
- "CPU" is the CPU time of all API servers per request; "memory" is that of the API
  server's process, without what it shares with others.
- Requests take turns with 8 of the adapters, and with all of the sessions. A
  registration does not load the adapter; its first request does."""
