"""Run ``mhcs check`` in this process."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from typer.testing import CliRunner

from mhcs.cli import app


class Checked(NamedTuple):
    """The exit status, the results by check, and the whole JSON document."""

    status: int
    results: dict[str, dict[str, Any]]
    document: dict[str, Any]

    def named(self, status: str) -> list[str]:
        """Return the names of the checks with a status."""
        found = self.results.items()
        return [name for name, result in found if result["status"] == status]


def run_check(*arguments: str) -> Checked:
    """Return the results; the command must write a report."""
    outcome = CliRunner().invoke(app, ["check", "--format=json", *arguments])
    assert outcome.exit_code in (0, 1), outcome.output
    document = json.loads(outcome.stdout)
    results = {result["name"]: result for result in document["checks"]}
    return Checked(outcome.exit_code, results, document)
