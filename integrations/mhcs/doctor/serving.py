"""What ``mhcs serve`` would start here, and what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from model_hosting_container_standards.engines.registry import installed_engines
from model_hosting_container_standards.exceptions import ConfigurationError
from model_hosting_container_standards.settings import Settings

from ..serve import Plan, make_plan
from ..serve.engines import installed_commands
from ..serve.variables import HIDDEN, is_secret
from .report import Report

_HUB = "HF_MODEL_ID"


def examine_serving(settings: Settings, report: Report) -> None:
    """Say which model ``mhcs serve`` would serve, and what keeps it from that."""
    installed = {command.prefix for _, command in installed_commands()}
    set_here = dict(_engine_variables())
    report.variables.update(set_here)
    report.problems.extend(_unread(set_here, installed))
    # What starts an engine otherwise needs no model here: it may be told elsewhere.
    wanted = any(name.startswith(tuple(installed)) for name in set_here)
    found = report.problems if wanted else report.serving
    try:
        plan = make_plan(settings, os.environ, (), check=wanted)
    except (ConfigurationError, LookupError) as error:
        if str(error) not in report.problems:
            found.append(str(error))
    else:
        report.serving.extend(_describe(plan))
        found.extend(plan.problems)


def _describe(plan: Plan) -> Iterator[str]:
    if plan.model is not None:
        yield f"{plan.engine}: {plan.model.name} ({plan.model.source})"
    if plan.links:
        yield f"{', '.join(plan.links)}: Kubernetes' links to a service, ignored."
    yield from plan.notes


def _engine_variables() -> Iterator[tuple[str, str]]:
    """Yield the variables of engines that are set, but for what is secret."""
    prefixes = tuple(_prefixes())
    for name, value in sorted(os.environ.items()):
        if name.startswith(prefixes) or (name == _HUB and value.strip()):
            yield name, HIDDEN if is_secret(name) else value


def _unread(names: dict[str, str], installed: set[str]) -> Iterator[str]:
    """Say which variables are those of an engine that is not here."""
    for prefix, engine in _prefixes().items():
        found = [name for name in names if name.startswith(prefix)]
        if found and installed and prefix not in installed:
            names_of = ", ".join(found)
            yield f"{names_of}: nothing reads it, as {engine} is not installed."


def _prefixes() -> dict[str, str]:
    """Return what the variables of each known engine begin with."""
    engines = (engine for engine in installed_engines() if engine.command is not None)
    return {engine.command.prefix: engine.name for engine in engines if engine.command}
