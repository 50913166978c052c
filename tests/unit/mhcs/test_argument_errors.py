"""Arguments rejected after parsing end the engine like a parser's error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest

from servers import run_until_exit

#: An engine's program, which raises the error of ``{error}`` in ``{function}``.
PROGRAM: Final = """
import mhcs.auto
from pydantic import BaseModel, field_validator

def check(value):
    try:
        raise {cause}
    except Exception as error:
        raise ValueError("not allowed") from error

class Config(BaseModel):
    value: int

    @field_validator("value")
    @classmethod
    def validate(cls, value):
        check(value)

def {function}():
    {statement}

{function}()
"""
VALIDATION: Final = "Config(value=1)"


def run(
    tmp_path: Path,
    statement: str,
    *,
    cause: str = "KeyError('value')",
    function: str = "create_engine_config",
    supervised: bool = True,
) -> int:
    """Return the exit status of an engine that raises and prints an error."""
    script = tmp_path / "engine.py"
    script.write_text(
        PROGRAM.format(statement=statement, cause=cause, function=function)
    )
    env = {"MHCS_HEARTBEAT_DIR": str(tmp_path)} if supervised else {}
    end = run_until_exit([sys.executable, script], env)
    assert end.stderr.startswith("Traceback"), end.stderr
    assert f"in {function}" in end.stderr
    return end.status


@pytest.mark.parametrize(
    "statement",
    [VALIDATION, "Config(value='x')", "raise TypeError('needs a parser')", "check(1)"],
)
@pytest.mark.parametrize("function", ["create_engine_config", "from_kwargs"])
def test_rejected_arguments_are_a_usage_error(
    tmp_path: Path, statement: str, function: str
) -> None:
    assert run(tmp_path, statement, function=function) == 2


@pytest.mark.parametrize("statement", [VALIDATION, "check(1)"])
@pytest.mark.parametrize(
    "cause",
    [
        pytest.param("ConnectionError()", id="unreachable hub"),
        pytest.param("RuntimeError('out of memory')", id="device out of memory"),
    ],
)
def test_error_that_a_restart_may_fix_is_a_crash(
    tmp_path: Path, statement: str, cause: str
) -> None:
    assert run(tmp_path, statement, cause=cause) == 1


def test_other_error_is_a_crash(tmp_path: Path) -> None:
    assert run(tmp_path, VALIDATION, function="load_weights") == 1


def test_exit_status_is_unchanged_without_supervisor(tmp_path: Path) -> None:
    assert run(tmp_path, VALIDATION, supervised=False) == 1
