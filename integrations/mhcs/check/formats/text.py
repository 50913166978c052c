"""A report as text."""

from __future__ import annotations

from collections.abc import Iterator

from ..report import Report, Result
from ..verdict import Status


def as_text(report: Report) -> str:
    """Return the results, a line each, and the summary."""
    lines = [line for result in report.results for line in lines_of(result)]
    return "\n".join([report.url, *lines, *closing_lines(report), ""])


def lines_of(result: Result) -> Iterator[str]:
    """Yield the line of a result; a failure's promise and last exchange follow."""
    yield f"{result.status.value:<12} {result.check.name:<23} {result.finding}"
    if result.status is not Status.FAIL:
        return
    yield f"             promise: {result.check.title}"
    for excerpt in result.excerpts[-1:]:
        yield from _block("sent", excerpt.sent)
        yield from _block("came", excerpt.came)


def _block(name: str, text: str) -> Iterator[str]:
    first, *others = text.splitlines() or [""]
    yield f"             {name}: {first}"
    yield from (f"                   {line}" for line in others if line)


def closing_lines(report: Report) -> Iterator[str]:
    failed = [r.check for r in report.results if r.status is Status.FAIL]
    for check in failed:
        yield f"{check.name}: see {report.documentation(check)}"
    if report.left:
        yield f"not removed: adapters {', '.join(report.left)}"
    yield report.summary
