"""Write the generated parts of the documentation: variables, commands, checks, pages.

    python tools/reference.py
    python tools/reference.py --check

The table of variables is generated from the settings table of the core, the options of
each command from its parser, the checks from mhcs.check, the packages from
import-linter's layers in pyproject.toml and their docstrings, the pages for llms.txt
from mkdocs.yml. With --check, nothing is written, and the exit status is 1 if a page is
not current.
"""

from __future__ import annotations

import argparse
import ast
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import typer

from mhcs.check.check import Check
from mhcs.check.checks import CHECKS
from mhcs.cli import app
from model_hosting_container_standards.settings import Variable, variables
from model_hosting_container_standards.supervisor.generate import make_parser
from pages import with_part

ROOT: Final = Path(__file__).parent.parent
CORE: Final = ROOT / "core" / "model_hosting_container_standards"
#: Defaults whose documented form differs from their parsed value.
WRITTEN: Final = {
    "SAGEMAKER_CONTAINER_LOG_LEVEL": logging.getLevelName(logging.ERROR),
    "MHCS_LOG_FORMAT": "text",
    "MHCS_UNKNOWN_MODEL": "",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    arguments = parser.parse_args()
    for page, name, content in (
        ("reference/environment.md", "settings", settings()),
        ("reference/command-line.md", "commands", commands()),
        ("reference/checks.md", "checks", checks()),
        ("explanation/architecture.md", "packages", packages()),
        ("llms.txt", "pages", pages()),
    ):
        update(arguments.docs / page, name, content, check=arguments.check)


def update(path: Path, name: str, content: str, *, check: bool) -> None:
    """Write a part of a page; with ``check``, raise if it is not current."""
    before = path.read_text()
    after = with_part(before, name, content, path)
    if before == after:
        return
    if check:
        raise SystemExit(f"{path} is not current: run `python tools/reference.py`.")
    path.write_text(after)


# --- variables ---------------------------------------------------------------------


def settings() -> str:
    """Return the table of environment variables."""
    rows = ((names(row), default(row), meaning(row)) for row in variables())
    return table(("variable", "default", "meaning"), rows)


def names(row: Variable[Any]) -> str:
    return ", else ".join(f"`{name}`" for name in row.names)


def default(row: Variable[Any]) -> str:
    written = WRITTEN.get(row.name, as_written(row.default))
    return f"`{written}`" if written else "unset"


def as_written(value: object) -> str:
    """Return a default as written in the environment, or "" without one."""
    if isinstance(value, bool):
        return str(value).lower()
    if value == {} and isinstance(value, Mapping):
        return "{}"
    return str(value) if isinstance(value, (str, int, float, Path)) else ""


def meaning(row: Variable[Any]) -> str:
    return f"{row.meaning} (never shown)" if row.secret else row.meaning


# --- commands ----------------------------------------------------------------------


def commands() -> str:
    """Return a section for each command of the distribution."""
    group: Any = typer.main.get_command(app)
    sections = [command(name, group.commands[name]) for name in group.commands]
    return "\n\n".join([*sections, *generate_supervisor_config()])


def command(name: str, found: Any) -> str:
    usage = " ".join(piece for piece in pieces(name, found.params))
    parts = [f"### mhcs {name}", found.help, f"```text\n{usage}\n```"]
    rows = [
        (f"`{', '.join(parameter.opts)}`", help_of(parameter))
        for parameter in found.params
    ]
    return "\n\n".join([*parts, table(("argument", "meaning"), rows)])


def pieces(name: str, parameters: Iterable[Any]) -> Iterator[str]:
    yield f"mhcs {name}"
    for parameter in parameters:
        if parameter.param_type_name == "option":
            yield f"[{parameter.opts[0]}]"
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            word = f"{parameter.name.upper()}..."
            yield word if parameter.required else f"[{word}]"


def help_of(parameter: Any) -> str:
    return str(parameter.help or "")


def generate_supervisor_config() -> Iterator[str]:
    parser = make_parser()
    yield f"### {parser.prog}"
    yield str(parser.description)
    rows = [
        (f"`{', '.join(action.option_strings) or action.dest}`", described(action))
        for action in parser._actions
        if action.dest != "help"
    ]
    yield table(("argument", "meaning"), rows)


def described(action: argparse.Action) -> str:
    text = str(action.help) % vars(action)
    return f"{text}: {', '.join(action.choices)}" if action.choices else text


# --- checks ------------------------------------------------------------------------


def checks() -> str:
    """Return the table of the checks of ``mhcs check``, with links to their pages."""
    rows = [
        (f"`{x.name}`", f"[{x.title}]({link_to(x.page)})", needs(x)) for x in CHECKS
    ]
    return table(("check", "promise", "needs"), rows)


def link_to(page: str) -> str:
    return page.removeprefix("reference/") if "reference/" in page else f"../{page}"


def needs(check: Check) -> str:
    return f"`{check.needs.value}`" if check.needs is not None else ""


# --- packages ----------------------------------------------------------------------


def packages() -> str:
    """Return the core's packages by layer, with the first line of their docstrings."""
    rows = [
        (str(number), f"`{name}`", summary(name))
        for number, layer in enumerate(layers(), start=1)
        for name in layer
    ]
    return table(("layer", "package", "what it holds"), rows)


def layers() -> list[list[str]]:
    """Return the names of the core's packages, from the top layer down."""
    text = (ROOT / "pyproject.toml").read_text()
    _, _, rest = text.partition("layers = [")
    block, _, _ = rest.partition("]")
    return [layer.split(" : ") for layer in re.findall(r'"([^"]+)"', block)]


def summary(name: str) -> str:
    """Return the first line of the docstring of a package, or of a module."""
    path = CORE / name / "__init__.py"
    tree = ast.parse((path if path.exists() else CORE / f"{name}.py").read_text())
    return re.sub(
        r":\w+:`([^`]+)`", r"`\1`", (ast.get_docstring(tree) or "").split("\n")[0]
    ).replace("``", "`")


# --- pages -------------------------------------------------------------------------


def pages() -> str:
    """Return a list of the site's pages, by the sections of mkdocs.yml."""
    _, _, nav = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")
    return "\n".join(entry(line.strip("- ")) for line in nav.splitlines())


def entry(line: str) -> str:
    if line.endswith(":"):
        return f"\n## {line[:-1]}\n"
    heading = (ROOT / "docs" / line).read_text().partition("# ")[2].partition("\n")[0]
    return f"- [{heading}]({line.removesuffix('.md')}.html)"


# --- Markdown ----------------------------------------------------------------------


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    escaped = [tuple(cell.replace("|", r"\|") for cell in row) for row in rows]
    lines = [head, ("---",) * len(head), *escaped]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main()
