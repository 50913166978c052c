"""This package's environment variables, and their problems."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from model_hosting_container_standards.exceptions import ConfigurationError
from model_hosting_container_standards.settings import Settings, variables
from model_hosting_container_standards.settings.service_links import is_service_link
from model_hosting_container_standards.supervisor.overrides import find_additions

from ..serve.variables import HIDDEN

_OURS = "MHCS_"
_PREFIXES = ("CUSTOM_", "PROCESS_", "SAGEMAKER_", "STANDARD_", _OURS)


def set_variables(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield names and values of the variables that are set; secrets are hidden."""
    secret = {name: row.secret for row in variables() for name in row.names}
    for name in sorted(secret):
        if value := settings.raw(name):
            yield name, HIDDEN if secret[name] else value


def problems_of_variables(settings: Settings) -> Iterator[str]:
    """Yield what is wrong with the variables, and how to fix it."""
    yield from _invalid_variables(settings)
    yield from _missing_folders(settings)
    yield from _unwritable_folders(settings)
    yield from _unused_limits(settings)
    yield from _misspelt_variables()
    yield from _invalid_supervisor_keys()


def _invalid_variables(settings: Settings) -> Iterator[str]:
    for variable in variables():
        try:
            variable.read(settings)
        except ConfigurationError as error:
            yield str(error)


def _missing_folders(settings: Settings) -> Iterator[str]:
    for name in (Settings.model_path.name, Settings.adapters_root.name):
        if (folder := settings.raw(name)) and not _is_folder(Path(folder)):
            yield f"{name}={folder} is not a folder: mount it, or unset {name}."


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _unwritable_folders(settings: Settings) -> Iterator[str]:
    for name in (Settings.adapters_path.name, Settings.sessions_path.name):
        if not (folder := settings.raw(name)):
            continue
        # A missing folder is created at the server's start.
        paths = (Path(folder), *Path(folder).parents)
        existing = next(path for path in paths if path.exists())
        if not (existing.is_dir() and os.access(existing, os.W_OK)):
            yield f"{name}={folder} cannot be written: use another folder."


def _unused_limits(settings: Settings) -> Iterator[str]:
    """Yield a problem for limits of our throttle without a throttle."""
    throttle = Settings.throttle.name
    limits = (Settings.throttle_in_flight.name, Settings.throttle_per_second.name)
    for name in limits:
        if settings.raw(name) and not settings.raw(throttle):
            yield f"{name} has no effect: set {throttle}=mhcs.throttle:Throttle too."


def _invalid_supervisor_keys() -> Iterator[str]:
    try:
        find_additions(os.environ)
    except ConfigurationError as error:
        yield str(error)


def _misspelt_variables() -> Iterator[str]:
    known = {name for variable in variables() for name in variable.names}
    for name, value in sorted(os.environ.items()):
        if not name.startswith(_PREFIXES) or name in known:
            continue
        matches = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if matches:
            yield f"{name} is set, but nothing reads it: did you mean {matches[0]}?"
        elif name.startswith(_OURS) and not is_service_link(name, value):
            yield f"{name} is set, but nothing reads it."
