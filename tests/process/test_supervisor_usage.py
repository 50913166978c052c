"""standard-supervisor: an engine that rejects its arguments is not restarted."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import pytest

from servers import Exit, run_until_exit
from supervised import SUPERVISOR

#: Records its run, reports that it has served if its argument says so, and exits.
PROGRAM: Final = """#!{python}
import os, sys
from pathlib import Path
status, served, runs = sys.argv[1:]
with open(runs, "a") as file:
    file.write("x")
if served == "served":
    Path(os.environ["MHCS_HEARTBEAT_DIR"], "served").touch()
sys.exit(int(status))
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs: two with names of engines, and one with another name."""
    for name in ("vllm", "trtllm-serve", "server"):
        (tmp_path / name).write_text(PROGRAM.format(python=sys.executable))
        (tmp_path / name).chmod(0o755)
    (tmp_path / "site" / "vllm").mkdir(parents=True)
    (tmp_path / "site" / "vllm" / "__init__.py").touch()
    (tmp_path / "site" / "vllm" / "server.py").write_text(PROGRAM)
    return tmp_path


def supervise(folder: Path, *command: str) -> tuple[Exit, int]:
    """Run a program with one retry; return its exit, and how often it ran."""
    env = {
        "PATH": os.pathsep.join([str(folder), os.environ["PATH"]]),
        "PYTHONPATH": str(folder / "site"),
        "PROCESS_MAX_START_RETRIES": "1",
    }
    runs = folder / "runs"
    end = run_until_exit([SUPERVISOR, *command, runs], env)
    return end, len(runs.read_text())


@pytest.mark.parametrize(
    "command",
    [["vllm"], ["trtllm-serve"], [sys.executable, "-m", "vllm.server"]],
    ids=lambda command: command[-1],
)
def test_engine_that_rejects_its_arguments_is_started_once(
    programs: Path, command: list[str]
) -> None:
    end, runs = supervise(programs, *command, "2", "-")
    assert (end.status, runs) == (2, 1)
    assert "given up" not in end.stdout + end.stderr


@pytest.mark.parametrize(
    ("command", "status", "served"),
    [
        pytest.param(["server"], "2", "-", id="another program"),
        pytest.param([sys.executable, "server"], "2", "-", id="another script"),
        pytest.param(["vllm"], "1", "-", id="another status"),
        pytest.param(["vllm"], "2", "served", id="after it has served"),
    ],
)
def test_any_other_crash_is_retried(
    programs: Path, command: list[str], status: str, served: str
) -> None:
    command = [*command[:-1], str(programs / command[-1])]
    end, runs = supervise(programs, *command, status, served)
    assert (end.status, runs) == (1, 2)
