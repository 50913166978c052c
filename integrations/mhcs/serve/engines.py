"""The engine that is served by, of those that are installed."""

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
    """Yield name and command of each engine that is installed and has one."""
    for engine in installed_engines():
        if engine.command is not None and find_spec(engine.name):
            yield engine.name, engine.command


def choose_engine(environ: Mapping[str, str]) -> tuple[str, EngineCommand]:
    """Return the name and the command of the engine that is installed here.

    Raises:
        LookupError: there is none, or there are several.
    """
    installed = [*installed_commands()]
    meant = [pair for pair in installed if _is_meant(pair[1], environ)]
    match meant or installed:
        case [found]:
            return found
        case []:
            known = " or ".join(engine.name for engine in installed_engines())
            raise LookupError(f"No engine is installed here: install {known}.")
    names = " and ".join(name for name, _ in installed)
    example = f"{installed[0][1].prefix}MODEL"
    raise LookupError(
        f"More than one engine is installed here, {names}: say which one by a variable "
        f"of its own, such as {example}."
    )


def _is_meant(command: EngineCommand, environ: Mapping[str, str]) -> bool:
    return any(
        name.startswith(command.prefix) and not is_service_link(name, value)
        for name, value in environ.items()
    )


def executable_path(name: str) -> str:
    """Return the path of a command: beside this Python, or else on the PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else (shutil.which(name) or name)
