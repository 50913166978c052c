"""Markdown tables and the machine's description, for all pages of results."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version


def table(heading: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table whose columns are right-aligned, except the first."""
    rule = ["---", *["---:"] * (len(heading) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, rule, *lines))


def describe_machine() -> str:
    python = f"Python {platform.python_version()}, {platform.machine()}"
    return f"{python}, {os.cpu_count()} CPUs."


def describe_packages() -> str:
    """Return the machine, and the versions of a real vLLM with our package."""
    packages = ", ".join(
        f"{name} {version(name)}"
        for name in ("vllm", "model-hosting-container-standards", "fastapi", "uvicorn")
    )
    return f"{describe_machine()} {packages}."
