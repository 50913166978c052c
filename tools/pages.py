"""Parts of Markdown pages that programs write, each between two marks of its own."""

from __future__ import annotations

from pathlib import Path


def marks(name: str) -> tuple[str, str]:
    """Return the lines that begin and end the part called ``name``."""
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
            f"{path} has no place for the {name}: put the lines {begin} and {end}, in "
            "this order, where it shall be."
        )
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"
