"""Choose the engine for ``mhcs serve`` among those that are installed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from model_hosting_container_standards.engines.command import EngineCommand
from model_hosting_container_standards.engines.registry import installed_engines
from model_hosting_container_standards.settings.service_links import is_service_link


def installed_commands() -> Iterator[tuple[str, EngineCommand]]:
    """Yield (name, command) of each installed engine with a command."""
    for engine in installed_engines():
        if engine.command is not None and find_spec(engine.name):
            yield engine.name, engine.command


def choose_engine(environ: Mapping[str, str]) -> tuple[str, EngineCommand]:
    """Return name and command of the installed engine.

    With several engines, the one whose variables are set.

    Raises:
        LookupError: no engine is installed, or the choice is ambiguous.
    """
    installed = [*installed_commands()]
    selected = [pair for pair in installed if _has_variables(pair[1], environ)]
    match selected or installed:
        case [pair]:
            return pair
        case []:
            known = " or ".join(engine.name for engine in installed_engines())
            raise LookupError(f"No engine is installed here: install {known}.")
    names = " and ".join(name for name, _ in installed)
    example = f"{installed[0][1].prefix}MODEL"
    raise LookupError(
        f"More than one engine is installed here, {names}: select one by setting a "
        f"variable of it, such as {example}."
    )


def _has_variables(command: EngineCommand, environ: Mapping[str, str]) -> bool:
    return any(
        name.startswith(command.prefix) and not is_service_link(name, value)
        for name, value in environ.items()
    )


def executable_path(name: str) -> str:
    """Return the path of a command: beside this Python, or else on the PATH."""
    sibling = Path(sys.executable).with_name(name)
    return str(sibling) if sibling.exists() else (shutil.which(name) or name)
