"""Examine an environment as the start of a server would."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata

from model_hosting_container_standards.exceptions import ConfigurationError
from model_hosting_container_standards.settings import Settings, read_settings
from model_hosting_container_standards.supervisor.requirements import (
    find_files,
    is_offline,
    wheels_of,
)

from .engines import (
    DISTRIBUTION,
    activation_methods,
    names_of_engines,
    problems_of_engines,
)
from .handlers import resolve_handlers
from .report import Report
from .serving import examine_serving
from .variables import problems_of_variables, set_variables

_PACKAGES = (DISTRIBUTION, "fastapi", "starlette", "pydantic")


def examine() -> Report:
    """Return a report on this environment.

    Raises:
        Interrupted: this process received a terminating signal.
    """
    settings = read_settings()
    report = Report(
        versions=dict(_versions()),
        variables=dict(set_variables(settings)),
        activation=activation_methods(settings),
        script=_script(settings),
        requirements=_requirements_file(settings),
    )
    report.problems.extend(problems_of_variables(settings))
    report.problems.extend(problems_of_engines())
    if report.activation:
        examine_serving(settings, report)
    else:
        report.problems.append(
            f"No engine is installed here: install {' or '.join(names_of_engines())}, "
            "or run this in the environment of the server."
        )
    resolve_handlers(settings, report)
    return report


def _versions() -> Iterator[tuple[str, str]]:
    yield "python", sys.version.split()[0]
    for name in (*_PACKAGES, *names_of_engines()):
        try:
            found = metadata.distribution(name)
            yield found.metadata["Name"], found.version
        except metadata.PackageNotFoundError:
            continue


def _script(settings: Settings) -> str:
    if (name := settings.script_filename) is None:
        return f"none: disabled by {Settings.script_filename.name}"
    scripts = [*dict.fromkeys(folder / name for folder in settings.code_folders)]
    try:
        existing = [script for script in scripts if script.is_file()]
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    if not existing:
        return f"{scripts[0]} does not exist"
    used, *others = existing
    return "; ".join([f"{used} exists", *(f"{file} is not used" for file in others)])


def _requirements_file(settings: Settings) -> str:
    """Return what ``mhcs serve`` and ``standard-supervisor`` would install."""
    try:
        files = find_files(settings)
    except OSError as error:
        return f"{settings.model_path} cannot be read: {error.strerror}"
    if not files:
        return f"{settings.model_path / 'requirements.txt'} does not exist"
    try:
        is_enabled = settings.auto_install
    except ConfigurationError:
        is_enabled = True  # Reported among the problems.
    file, *others = files
    if not is_enabled:
        return f"{file} is not installed: disabled by {Settings.auto_install.name}"
    source = f"packages of {wheels_of(file)}" if is_offline(file) else "an index"
    used = [f"{file} is installed by mhcs serve and standard-supervisor, from {source}"]
    return "; ".join([*used, *(f"{other} is not used" for other in others)])
