"""Draws the ratios as bars in ``results.svg``, for light and dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from report import Row

#: Readable on white and on black.
_TEXT: Final = "#7d8590"
_TARGET: Final = "#bf8700"
_SIDES: Final = (
    ("published", "published 0.1.16", "#6e7781"),
    ("ours", "ours", "#1f883d"),
    ("newest", "ours, newest FastAPI", "#2f81f7"),
)
_HEIGHT: Final = 0.8
#: Longer bars are cut off here, so that those around 1 remain readable.
_LONGEST: Final = 5
#: Style of the numbers inside the bars.
_VALUE: Final[dict[str, Any]] = {"color": "white", "va": "center_baseline", "size": 7}
_STYLE: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mhcs",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _TEXT,
    "axes.labelcolor": _TEXT,
    "axes.edgecolor": _TEXT,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
}


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Draw the rows that are ratios."""
    ratios = [row for row in rows if row.unit == "x"]
    with saved_axes(path, figsize=(8.4, 0.5 * len(ratios) + 1.2)) as axes:
        _draw_bars(axes, ratios)
        _label(axes, ratios)


@contextmanager
def saved_axes(path: Path, *shape: int, figsize: tuple[float, float]) -> Iterator[Any]:
    """Yield the axes of a figure, in our style, which is saved at the end.

    Args:
        shape: the numbers of rows and columns, if there are several axes.
        figsize: width and height in inches.
    """
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    with matplotlib.rc_context(_STYLE):
        figure, axes = pyplot.subplots(*shape, figsize=figsize)
        yield axes
        figure.tight_layout()
        figure.savefig(path, transparent=True, metadata={"Date": None})
        pyplot.close(figure)


def _draw_bars(axes: Any, rows: Sequence[Row]) -> None:
    thickness = _HEIGHT / len(_SIDES)
    for number, (name, label, colour) in enumerate(_SIDES):
        offset = (number - (len(_SIDES) - 1) / 2) * thickness
        places = [i + offset for i, row in enumerate(rows) if name in row.values]
        values = [row.values[name] for row in rows if name in row.values]
        bars = axes.barh(places, values, thickness * 0.9, color=colour, label=label)
        for bar, value in zip(bars, values, strict=True):
            middle = bar.get_y() + bar.get_height() / 2
            axes.text(0.04, middle, f"{value:.2f}", **_VALUE)


def _label(axes: Any, rows: Sequence[Row]) -> None:
    places = range(len(rows))
    axes.axvline(1.0, color=_TEXT, linewidth=1)
    axes.vlines(
        [row.target for row in rows],
        [place - _HEIGHT / 2 for place in places],
        [place + _HEIGHT / 2 for place in places],
        colors=_TARGET,
        linestyles="dotted",
        label="target, at most",
    )
    axes.set_yticks(places, [row.title.replace("`", "") for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, _LONGEST)
    axes.set_xlabel(f"time over the bare app's, which is 1; cut at {_LONGEST}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
