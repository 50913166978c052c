"""The report of ``mhcs doctor``, and its formats."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from .migration import PAGE


@dataclass(slots=True)
class Report:
    """The findings of ``mhcs doctor``.

    Args:
        versions: by distribution; "python" is the interpreter's.
        variables: values of the variables that are set; secrets are hidden.
        activation: how each engine gets our routes, by engine.
        handlers: what answers, by path.
        middleware: the customer's middleware, by place.
        migration: set variables with another meaning than in the published 0.1.x.
        problems: what is wrong, each with how to fix it.
    """

    versions: dict[str, str]
    variables: dict[str, str]
    activation: dict[str, list[str]]
    script: str
    requirements: str
    serving: list[str] = field(default_factory=list)
    handlers: dict[str, str] = field(default_factory=dict)
    middleware: dict[str, str] = field(default_factory=dict)
    migration: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def as_json(report: Report) -> str:
    """Return the report as a JSON object with the fields of :class:`Report`."""
    return json.dumps(asdict(report), indent=2)


def as_text(report: Report) -> str:
    """Return the report as readable text."""
    sections = {
        "versions": [f"{name} {version}" for name, version in report.versions.items()],
        "set variables": [
            f"{name}={value}" for name, value in report.variables.items()
        ],
        "activation": [
            f"{name}: {method}"
            for name, methods in report.activation.items()
            for method in methods
        ],
        "customer script": [report.script],
        "requirements": [report.requirements],
        "mhcs serve": report.serving,
        "handlers": [f"{path}: {text}" for path, text in report.handlers.items()],
        "middleware": [f"{place}: {text}" for place, text in report.middleware.items()],
        f"different from 0.1.x ({PAGE})": report.migration,
        "problems": report.problems,
    }
    text = "\n".join(
        f"{title}:\n" + "\n".join(f"  {line}" for line in lines or ["none"])
        for title, lines in sections.items()
    )
    # Variables that are not UTF-8 could not be printed.
    return text.encode(errors="backslashreplace").decode()
