"""What ``mhcs serve`` would start here, and its problems."""

from __future__ import annotations

import os
from collections.abc import Iterator

from model_hosting_container_standards.engines.registry import engine_commands
from model_hosting_container_standards.exceptions import ConfigurationError
from model_hosting_container_standards.settings import Settings

from ..serve import Plan, make_plan
from ..serve.engines import installed_commands
from ..serve.variables import HIDDEN, is_secret
from .report import Report

_HUB = "HF_MODEL_ID"


def examine_serving(settings: Settings, report: Report) -> None:
    """Add the plan of ``mhcs serve`` and its problems to the report."""
    installed = {command.prefix for _, command in installed_commands()}
    variables = dict(_engine_variables())
    report.variables.update(variables)
    report.problems.extend(_unread(variables, installed))
    # Without variables for `mhcs serve` the engine may be started otherwise: then a
    # missing model is not a problem.
    is_used = any(name.startswith(tuple(installed)) for name in variables)
    problems = report.problems if is_used else report.serving
    try:
        plan = make_plan(settings, os.environ, (), check=is_used)
    except (ConfigurationError, LookupError) as error:
        if str(error) not in report.problems:
            problems.append(str(error))
    else:
        report.serving.extend(_describe(plan))
        problems.extend(plan.problems)


def _describe(plan: Plan) -> Iterator[str]:
    if plan.model is not None:
        yield f"{plan.engine}: {plan.model.name} ({plan.model.source})"
    if plan.links:
        yield f"{', '.join(plan.links)}: ignored, as service links of Kubernetes."
    yield from plan.notes


def _engine_variables() -> Iterator[tuple[str, str]]:
    """Yield names and values of the engines' variables; secrets are hidden."""
    prefixes = tuple(_prefixes())
    for name, value in sorted(os.environ.items()):
        if name.startswith(prefixes) or (name == _HUB and value.strip()):
            yield name, HIDDEN if is_secret(name) else value


def _unread(names: dict[str, str], installed: set[str]) -> Iterator[str]:
    """Yield a problem for variables of an engine that is not installed."""
    for prefix, engine in _prefixes().items():
        unread = [name for name in names if name.startswith(prefix)]
        if unread and installed and prefix not in installed:
            yield f"{', '.join(unread)}: not used, as {engine} is not installed."


def _prefixes() -> dict[str, str]:
    """Return the engine for each prefix of variables."""
    return {command.prefix: name for name, command in engine_commands()}
