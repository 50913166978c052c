"""Examine an environment as the start of a server would."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata

from model_hosting_container_standards.exceptions import ConfigurationError
from model_hosting_container_standards.settings import Settings, read_settings
from model_hosting_container_standards.supervisor.pip_arguments import names_source
from model_hosting_container_standards.supervisor.requirements import (
    Requirements,
    find_file,
    find_files,
    find_requirements,
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
from .migration import differences
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
        requirements=_requirements(settings),
        migration=list(differences(settings)),
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


def _requirements(settings: Settings) -> str:
    """Return what ``mhcs serve`` and ``standard-supervisor`` would install."""
    try:
        requirements = _find_requirements(settings)
        files = find_files(settings)
        if requirements is None:
            return f"{settings.model_path / 'requirements.txt'} does not exist"
        source = _source_of(requirements)
    except OSError as error:
        return f"{settings.model_path} cannot be read: {error.strerror}"
    try:
        is_enabled = settings.auto_install
    except ConfigurationError:
        is_enabled = True  # Reported among the problems.
    if not is_enabled:
        disabled = f"is not installed: disabled by {Settings.auto_install.name}"
        return f"{requirements} {disabled}"
    used = f"{requirements} is installed by mhcs serve and standard-supervisor"
    others = (file for file in files if file != requirements.file)
    return "; ".join([f"{used}{source}", *(f"{file} is not used" for file in others)])


def _find_requirements(settings: Settings) -> Requirements | None:
    try:
        return find_requirements(settings)
    except ConfigurationError:  # Reported among the problems.
        file = find_file(settings)
        return None if file is None else Requirements(file, ())


def _source_of(requirements: Requirements) -> str:
    """Return where the packages come from, unless the arguments say so."""
    file = requirements.file
    if file is None or names_source(requirements.arguments):
        return ""
    source = f"packages of {wheels_of(file)}" if is_offline(file) else "an index"
    return f", from {source}"
