"""Parse the documentation: pages, blocks of code, commands and links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
PAGES: Final = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(DOCS.rglob("*.md")),
)

_FENCE: Final = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_ASSIGNMENT: Final = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)", re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    #: The text after the language: ``title="model.py"``.
    options: str
    text: str

    @property
    def id(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


class Command(NamedTuple):
    """A command of a block, and its variables."""

    block: Block
    variables: dict[str, str]
    words: list[str]

    @property
    def id(self) -> str:
        return f"{self.block.id}: {shlex.join(self.words)}"


def blocks(*languages: str) -> list[Block]:
    """Return the blocks of all pages that are in one of the languages."""
    found = (block for page in PAGES for block in blocks_of(page))
    return [block for block in found if block.language in languages]


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(page, line, match[1], match[2].strip(), match[3])


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def code_spans(page: Path) -> list[str]:
    """Return the code spans in the text of a page."""
    spans = re.findall(r"`([^`]+)`", prose(page))
    return [" ".join(span.split()) for span in spans]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {slug(heading) for heading in headings}


def slug(heading: str) -> str:
    words = re.sub(r"[^\w\s-]", "", heading.lower()).strip()
    return re.sub(r"[\s-]+", "-", words)


def links(page: Path) -> list[str]:
    """Return the targets of a page's links."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def commands() -> list[Command]:
    """Return the commands of every ``bash`` and ``console`` block."""
    return [
        command
        for block in blocks("bash", "console")
        for line in _lines(block)
        for command in _commands_of(block, line)
    ]


def _lines(block: Block) -> Iterator[str]:
    """Return the commands, one per line; in ``console`` they follow ``$``."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "console":
        return (line[2:] for line in lines if line.startswith("$ "))
    return (line for line in lines if line.strip() and not line.startswith("#"))


def _commands_of(block: Block, line: str) -> Iterator[Command]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, "|"]:
        if set(word) <= set("|;&"):
            yield _command(block, words)
            words = []
        else:
            words.append(word)


def _command(block: Block, words: list[str]) -> Command:
    variables: dict[str, str] = {}
    rest = words[1:] if words[0] == "export" else words
    while rest and (match := _ASSIGNMENT.fullmatch(rest[0])):
        variables[match[1]] = match[2]
        rest = rest[1:]
    return Command(block, variables, rest)
