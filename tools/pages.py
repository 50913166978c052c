"""Replaces generated parts of Markdown pages, each between two marks."""

from __future__ import annotations

from pathlib import Path


def marks(name: str) -> tuple[str, str]:
    """Return the lines before and after the part called ``name``."""
    return f"<!-- {name} -->", f"<!-- /{name} -->"


def with_part(text: str, name: str, content: str, path: Path) -> str:
    """Return ``text`` with ``content`` between the marks of ``name``.

    Raises:
        SystemExit: the marks are missing; the message names ``path`` and the marks.
    """
    begin, end = marks(name)
    before, begun, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not (begun and ended):
        raise SystemExit(
            f"{path} has no place for the {name}: insert the lines {begin} and {end}, "
            "in this order, at its place."
        )
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"
