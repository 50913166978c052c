"""The results of all checks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .check import Check
from .exchange import Excerpt
from .verdict import Status


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a check.

    Args:
        finding: what was found, in a sentence.
        excerpts: the exchanges, of which ``omitted`` are left out.
    """

    check: Check
    status: Status
    finding: str
    seconds: float
    excerpts: list[Excerpt] = field(default_factory=list)
    omitted: int = 0


@dataclass(slots=True)
class Report:
    """All results.

    Args:
        started: in UTC, in the form of ISO 8601.
        latencies: seconds, by the name of a series.
        left: adapters that could not be removed again.
        docs: where the documentation's pages are, a folder or a URL.
    """

    url: str
    started: str
    docs: str | None = None
    seconds: float = 0.0
    results: list[Result] = field(default_factory=list)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """The number of checks by their status."""
        found = Counter(result.status for result in self.results)
        return {status.value: found[status] for status in Status}

    @property
    def has_failed(self) -> bool:
        return any(result.status is Status.FAIL for result in self.results)

    @property
    def summary(self) -> str:
        parts = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        return f"{len(self.results)} checks in {self.seconds:.1f} s: {parts}"

    def documentation(self, check: Check) -> str:
        """Return where the documentation has the check's promise."""
        if self.docs is None:
            return f"docs/{check.page}"
        page = check.page.replace(".md", ".html", 1)
        return f"{self.docs.rstrip('/')}/{page}"
