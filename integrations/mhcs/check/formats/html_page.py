"""A report as one HTML page, without scripts and without anything to load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from statistics import median

from ..exchange import Excerpt
from ..report import Report, Result
from ..verdict import Status
from .latency_plot import latency_plot

#: What a container sends is escaped; if that failed, nothing of it would run.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def as_html(report: Report) -> str:
    """Return the page: the counts, a table of the checks, plots of the latencies."""
    style = files(__package__).joinpath("page.css").read_text()
    rows = "\n".join(_row(report, result) for result in report.results)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>mhcs check: {escape(report.url)}</title>
<style>
{style}</style>
</head>
<body>
<h1>mhcs check</h1>
<p>{escape(report.url)}, {escape(report.started)}, {report.seconds:.1f} s</p>
<ul class="counts">{"".join(_counts(report))}</ul>
{"".join(_failures(report))}{"".join(_left(report))}<h2>Checks</h2>
<table>
<thead><tr><th>Result</th><th>Check</th><th>Finding</th><th>Time</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
{"".join(_plots(report))}</body>
</html>
"""


def _counts(report: Report) -> Iterator[str]:
    for name, count in report.counts.items():
        style = _class(name) if count else "none"
        yield f'<li class="{style}"><b>{count}</b> {name}</li>'


def _failures(report: Report) -> Iterator[str]:
    names = [r.check.name for r in report.results if r.status is Status.FAIL]
    if names:
        links = ", ".join(f'<a href="#{escape(x)}">{escape(x)}</a>' for x in names)
        yield f'<p class="fail">Failed: {links}</p>\n'


def _left(report: Report) -> Iterator[str]:
    if report.left:
        names = escape(", ".join(report.left))
        yield f'<p class="fail">Adapters that could not be removed: {names}</p>\n'


def _row(report: Report, result: Result) -> str:
    check, status = result.check, result.status.value
    name = escape(check.name)
    return (
        f'<tr id="{name}"><td><span class="status {_class(status)}">{status}</span>'
        f"</td><td><code>{name}</code><br>{_promise(report, result)}</td>"
        f"<td>{escape(result.finding)}{_details(result)}</td>"
        f'<td class="time">{_time(result.seconds)}</td></tr>'
    )


def _promise(report: Report, result: Result) -> str:
    title = escape(result.check.title)
    link = escape(report.documentation(result.check))
    if report.docs is None:
        return f"{title}<br><small>{link}</small>"
    return f'<a href="{link}">{title}</a>'


def _details(result: Result) -> str:
    if not result.excerpts:
        return ""
    count = len(result.excerpts) + result.omitted
    noun = "exchange" if count == 1 else "exchanges"
    opened = " open" if result.status is Status.FAIL else ""
    blocks = "".join(map(_exchange, result.excerpts))
    note = f"<p>{result.omitted} are not shown.</p>" if result.omitted else ""
    return f"<details{opened}><summary>{count} {noun}</summary>{blocks}{note}</details>"


def _exchange(shown: Excerpt) -> str:
    return (
        f'<div class="exchange"><pre>{escape(shown.sent)}</pre>'
        f"<pre>{escape(shown.came)}</pre></div>"
    )


def _plots(report: Report) -> Iterator[str]:
    if not report.latencies:
        return
    yield '<h2>Latencies</h2>\n<div class="plots">\n'
    for name, seconds in report.latencies.items():
        plot = latency_plot(name, seconds)
        yield f"<figure><figcaption>{_caption(name, seconds)}</figcaption>{plot}"
        yield "</figure>\n"
    yield "</div>\n"


def _caption(name: str, seconds: Sequence[float]) -> str:
    numbers = (min(seconds), median(seconds), max(seconds))
    least, middle, most = (f"{value * 1000:.1f}" for value in numbers)
    return f"<b>{escape(name)}</b><br>median {middle} ms, {least} to {most} ms"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _class(status: str) -> str:
    return status.replace(" ", "-")
