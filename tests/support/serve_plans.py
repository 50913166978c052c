"""What ``mhcs serve`` would run, in this process; only the engine's parser is another.

    install(monkeypatch, "vllm")
    assert flags(SEED="1") == ["--seed", "1"]

An engine is installed that is a package on the path: one of the stand-ins, which have a
parser, or one with nothing but a source that mentions options. A real one is hidden.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from layouts import STANDINS, SUPPORT
from mhcs.serve import Plan, check_server, make_plan
from model_hosting_container_standards.settings import read_settings

ENGINES: Final = ("vllm", "tensorrt_llm")
ADDRESS: Final = ["--host", "0.0.0.0", "--port", "8080"]
#: The stand-in whose command line has a parser as vLLM's is.
WITH_PARSER: Final = STANDINS / "v0_29"
#: Where vLLM and TensorRT-LLM define options.
SOURCES: Final = {"vllm": "engine/arg_utils.py", "tensorrt_llm": "commands/serve.py"}


def write_package(folder: Path, name: str, source: str) -> None:
    """Write an engine of which only the source of its options is there."""
    file = folder / name / SOURCES[name]
    file.parent.mkdir(parents=True)
    for package in (file.parent, folder / name):
        (package / "__init__.py").touch()
    file.write_text(source)


def put_on_path(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Let this process, and those that it starts, import what is in the folders."""
    for folder in folders:
        monkeypatch.syspath_prepend(str(folder))
    path = [*map(str, reversed(folders)), str(SUPPORT)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let nothing be installed by these names."""
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def plan(*arguments: str, **environ: str) -> Plan:
    """Return the plan, for a model that the environment names."""
    return _make(arguments, environ, check=False)


def checked_plan(*arguments: str, **environ: str) -> Plan:
    """Return the plan that the parser has been asked for, whatever it is."""
    return _make(arguments, environ, check=True)


def _make(arguments: Sequence[str], given: Mapping[str, str], *, check: bool) -> Plan:
    environ = {"HF_MODEL_ID": "org/model", **given}
    settings = read_settings(environ)
    check_server(settings)
    return make_plan(settings, environ, arguments, check=check)


def words_of(made: Plan) -> list[str]:
    """Return a plan's command, by the name of its executable."""
    return [Path(made.command[0]).name, *made.command[1:]]


def command(*arguments: str, **environ: str) -> list[str]:
    made = plan(*arguments, **environ)
    assert made.problems == []
    return words_of(made)


def flags(**environ: str) -> list[str]:
    """Return what vLLM's variables add."""
    start = ["vllm", "serve", "org/model", *ADDRESS]
    whole = command(**{f"SM_VLLM_{name}": value for name, value in environ.items()})
    assert whole[: len(start)] == start
    return whole[len(start) :]


def problem_of(made: Plan) -> str:
    """Return the one thing that is wrong."""
    [found] = made.problems
    return found


@contextmanager
def another_user() -> Iterator[None]:
    """Be somebody who may not read what is root's alone."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(before)
