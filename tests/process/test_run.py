"""``mhcs run``: it executes a command with patching enabled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mhcs import cli
from supervised import MHCS


def test_run_executes_command_with_patching_enabled() -> None:
    code = "import os, sys; print(os.environ['MHCS_AUTO'], sys.argv[1:]); sys.exit(3)"
    done = subprocess.run(
        [MHCS, "run", "--", sys.executable, "-c", code, "--help", "a b", "--", ""],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "1 ['--help', 'a b', '--', '']\n"
    assert done.returncode == 3


@pytest.mark.parametrize("mhcs", [[MHCS], [sys.executable, "-m", "mhcs"]])
def test_run_does_not_block_signals(mhcs: list[str | Path]) -> None:
    code = "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
    done = subprocess.run(
        [*mhcs, "run", sys.executable, "-c", code, "serve"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "set()\n"


def test_run_passes_options_without_dashes() -> None:
    done = subprocess.run(
        [MHCS, "run", sys.executable, "-c", "import sys; print(sys.argv)", "--port=1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "['-c', '--port=1']\n"


@pytest.mark.parametrize(("command", "status"), [("no-such-command", 127), ("/", 126)])
def test_run_exit_status_matches_shell(command: str, status: int) -> None:
    result = CliRunner().invoke(cli.app, ["run", "--", command])
    assert result.exit_code == status
    assert f"mhcs run: {command}: " in result.output


def test_run_requires_a_command() -> None:
    result = CliRunner().invoke(cli.app, ["run"], terminal_width=200)
    assert result.exit_code == 2
    assert "Missing argument" in result.output
