"""The engines that are installed, by their entry points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .api import Engine

if TYPE_CHECKING:  # Engines are patched in processes that serve nothing.
    from importlib.metadata import EntryPoints

    from fastapi import FastAPI

    from .command import EngineCommand

ENTRY_POINT_GROUP: Final = "model_hosting_container_standards.engines"


@cache
def _published() -> EntryPoints:
    """Return the entry points of engines; all distributions are read for them."""
    from importlib.metadata import entry_points

    return entry_points(group=ENTRY_POINT_GROUP)


def forget_engines() -> None:
    """Read the entry points anew: distributions have been installed."""
    _published.cache_clear()


def installed_engines() -> Iterator[Engine]:
    """Yield the engines that installed distributions publish."""
    for entry_point in _published():
        yield entry_point.load()


def engine_names() -> frozenset[str]:
    """Return the names of those engines, which are those of their packages."""
    return frozenset(_published().names)


def engine_commands() -> Iterator[tuple[str, EngineCommand]]:
    """Yield (name, command) of the engines that have a command.

    The engine itself need not be installed.
    """
    for engine in installed_engines():
        if (command := engine.command) is not None:
            yield engine.name, command


def engine_of_command(command: Sequence[str]) -> Engine | None:
    """Return the engine whose own command it is, or whose module it runs (``-m``)."""
    program = Path(command[0]).name
    modules = [
        word.partition(".")[0] for flag, word in pairwise(command) if flag == "-m"
    ]
    for engine in installed_engines():
        if engine.name in modules[:1]:
            return engine
        if engine.command is not None and program in engine.command.executables:
            return engine
    return None


def has_server(command: Sequence[str]) -> bool:
    """Whether a command has an HTTP server; True for another program's."""
    engine = engine_of_command(command)
    if engine is None or engine.command is None:
        return True
    return engine.command.has_server(command[1:])


def find_engine(app: FastAPI) -> Engine | None:
    """Return the engine that built ``app``, or None for any other app."""
    return next((engine for engine in installed_engines() if engine.owns(app)), None)
