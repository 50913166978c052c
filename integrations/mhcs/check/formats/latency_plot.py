"""A plot of latencies, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from statistics import median
from typing import Final

_WIDTH: Final = 460
_HEIGHT: Final = 170
_LEFT: Final = 52
_TOP: Final = 12
_BOTTOM: Final = 24


def latency_plot(name: str, seconds: Sequence[float]) -> str:
    """Return an SVG with a bar for each request, in the order of the requests.

    Args:
        seconds: at least one.
    """
    milliseconds = [value * 1000 for value in seconds]
    top = _round_up(max(milliseconds))
    label = f"{name}: {len(seconds)} requests, median {median(milliseconds):.1f} ms"
    parts = [
        *_grid(top),
        *_bars(milliseconds, top),
        *_median(median(milliseconds), top),
        f'<text class="axis" x="{_LEFT}" y="{_HEIGHT - 6}">request 1 to '
        f"{len(seconds)}; dashed: the median</text>",
    ]
    head = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
    return f'{head} aria-label="{escape(label)}">{"".join(parts)}</svg>'


def _round_up(value: float) -> float:
    """Return the next number that has 1, 2, 2.5 or 5 as its only digits."""
    power = 10.0 ** math.floor(math.log10(max(value, 0.001)))
    return next(n * power for n in (1, 2, 2.5, 5, 10) if n * power >= value * 0.999)


def _y(value: float, top: float) -> float:
    usable = _HEIGHT - _TOP - _BOTTOM
    return round(_TOP + usable * (1 - value / top), 2)


def _grid(top: float) -> Iterator[str]:
    ticks = 4 if f"{top:e}".startswith("2.0") else 5
    for number in range(ticks + 1):
        value = top * number / ticks
        y = _y(value, top)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{y}" y2="{y}"/>'
        yield (
            f'<text class="axis" text-anchor="end" x="{_LEFT - 6}" y="{y + 4}">'
            f"{value:g}{' ms' if number == ticks else ''}</text>"
        )


def _bars(milliseconds: Sequence[float], top: float) -> Iterator[str]:
    step = (_WIDTH - _LEFT) / len(milliseconds)
    width = min(step * 0.7, 24)
    for number, value in enumerate(milliseconds):
        x = _LEFT + step * number + (step - width) / 2
        y = min(_y(value, top), _y(0, top) - 1)
        yield (
            f'<rect class="bar" x="{x:.2f}" y="{y}" width="{width:.2f}" '
            f'height="{_y(0, top) - y:.2f}"><title>request {number + 1}: '
            f"{value:.1f} ms</title></rect>"
        )


def _median(value: float, top: float) -> Iterator[str]:
    y = _y(value, top)
    yield f'<line class="median" x1="{_LEFT}" x2="{_WIDTH}" y1="{y}" y2="{y}"/>'
