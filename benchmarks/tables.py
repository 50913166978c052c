"""What all pages of results have: tables in Markdown, and the machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence


def table(heading: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table, numbers to the right."""
    rule = ["---", *["---:"] * (len(heading) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, rule, *lines))


def describe_machine() -> str:
    python = f"Python {platform.python_version()}, {platform.machine()}"
    return f"{python}, {os.cpu_count()} CPUs."
