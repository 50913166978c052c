"""What was found, and how it is told."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field


@dataclass(slots=True)
class Report:
    """What was found. ``problems`` says what is wrong, each with how to mend it."""

    versions: dict[str, str]
    variables: dict[str, str]
    doors: dict[str, list[str]]
    script: str
    requirements: str
    serving: list[str] = field(default_factory=list)
    handlers: dict[str, str] = field(default_factory=dict)
    middleware: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def as_json(report: Report) -> str:
    """Return the report as a JSON object with the fields of :class:`Report`."""
    return json.dumps(asdict(report), indent=2)


def as_text(report: Report) -> str:
    """Return the report for a person to read."""
    sections = {
        "versions": [f"{name} {version}" for name, version in report.versions.items()],
        "set variables": [
            f"{name}={value}" for name, value in report.variables.items()
        ],
        "doors": [
            f"{name}: {door}" for name, ds in report.doors.items() for door in ds
        ],
        "customer script": [report.script],
        "requirements": [report.requirements],
        "mhcs serve": report.serving,
        "handlers": [f"{path}: {text}" for path, text in report.handlers.items()],
        "middleware": [f"{place}: {text}" for place, text in report.middleware.items()],
        "problems": report.problems,
    }
    text = "\n".join(
        f"{title}:\n" + "\n".join(f"  {line}" for line in lines or ["none"])
        for title, lines in sections.items()
    )
    # What is no UTF-8 in the environment could not be printed.
    return text.encode(errors="backslashreplace").decode()
