"""Make the plans of ``mhcs serve`` in this process; only the parser runs in another.

    put_on_path(monkeypatch, WITH_PARSER)
    assert flags(SEED="1") == ["--seed", "1"]

An engine counts as installed when its package is on the path: a stand-in, which has a
parser, or a package with nothing but the source of its options. :func:`hide` hides real
engines.
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

ENGINES: Final = ("vllm", "tensorrt_llm", "sglang")
#: The words before the model, and the prefix of each engine's variables.
START: Final = {
    "vllm": ["vllm", "serve"],
    "tensorrt_llm": ["trtllm-serve"],
    "sglang": ["sglang", "serve", "--model-path"],
}
PREFIX: Final = {
    "vllm": "SM_VLLM_",
    "tensorrt_llm": "SM_TRTLLM_",
    "sglang": "SM_SGLANG_",
}
ADDRESS: Final = ["--host", "0.0.0.0", "--port", "8080"]
#: The stand-in whose command line has a parser like vLLM's.
WITH_PARSER: Final = STANDINS / "v0_29"
#: Where the engines define options.
SOURCES: Final = {
    "vllm": "engine/arg_utils.py",
    "tensorrt_llm": "commands/serve.py",
    "sglang": "srt/server_args.py",
}


def write_package(folder: Path, name: str, source: str) -> None:
    """Write an engine that consists only of the source of its options."""
    file = folder / name / SOURCES[name]
    file.parent.mkdir(parents=True)
    for package in (file.parent, folder / name):
        (package / "__init__.py").touch()
    file.write_text(source)


def put_on_path(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Put folders on the import path of this process and its children."""
    for folder in folders:
        monkeypatch.syspath_prepend(str(folder))
    path = [*map(str, reversed(folders)), str(SUPPORT)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Make these packages look as if they were not installed."""
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def plan(*arguments: str, **environ: str) -> Plan:
    """Return the plan for a model named by the environment."""
    return _make(arguments, environ, check=False)


def checked_plan(*arguments: str, **environ: str) -> Plan:
    """Return the plan after the engine's parser has checked it."""
    return _make(arguments, environ, check=True)


def _make(arguments: Sequence[str], given: Mapping[str, str], *, check: bool) -> Plan:
    environ = {"HF_MODEL_ID": "org/model", **given}
    settings = read_settings(environ)
    check_server(settings)
    return make_plan(settings, environ, arguments, check=check)


def words_of(made: Plan) -> list[str]:
    """Return a plan's command, without the folder of its executable."""
    return [Path(made.command[0]).name, *made.command[1:]]


def command(*arguments: str, **environ: str) -> list[str]:
    made = plan(*arguments, **environ)
    assert made.problems == []
    return words_of(made)


def flags(**environ: str) -> list[str]:
    """Return the arguments that these ``SM_VLLM_*`` variables add."""
    start = ["vllm", "serve", "org/model", *ADDRESS]
    whole = command(**{f"SM_VLLM_{name}": value for name, value in environ.items()})
    assert whole[: len(start)] == start
    return whole[len(start) :]


def problem_of(made: Plan) -> str:
    """Return the plan's only problem."""
    [found] = made.problems
    return found


@contextmanager
def another_user() -> Iterator[None]:
    """Switch to a user who cannot read root's files."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(before)
