"""``mhcs doctor``, run in the tests' own process."""

from __future__ import annotations

from typer.testing import CliRunner

from mhcs import cli


def doctor_says(*arguments: str) -> tuple[int, str]:
    """Return the exit status and the output."""
    result = CliRunner().invoke(cli.app, ["doctor", *arguments])
    return result.exit_code, result.output
