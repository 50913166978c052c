"""What an engine's folder imports of this package, and the defaults it begins with."""

from __future__ import annotations

import json
import sys
from typing import Final

import pytest
from fastapi import FastAPI

from model_hosting_container_standards import engines
from servers import run_until_exit

#: What a process that serves nothing has no use for.
OF_SERVERS: Final = {"fastapi", "pydantic", "sqlite3", "starlette"}
PATCHED: Final = "import json, sys, mhcs.auto; print(json.dumps([*sys.modules]))"


@pytest.mark.parametrize("name", engines.__all__)
def test_what_an_engine_needs_is_in_one_place(name: str) -> None:
    assert getattr(engines, name) is not None


def test_nothing_else_is() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'NoSuchName'"):
        _ = engines.NoSuchName


def test_a_process_that_is_patched_has_nothing_of_a_server() -> None:
    # Not measured: coverage imports sqlite3.
    env = {"COVERAGE_PROCESS_CONFIG": ""}
    end = run_until_exit([sys.executable, "-c", PATCHED], env)
    loaded = {*json.loads(end.stdout)}
    assert "mhcs.vllm.engine" in loaded
    assert not loaded & OF_SERVERS


async def test_an_engine_says_nothing_but_its_name() -> None:
    class Smallest(engines.Engine):
        description = engines.EngineDescription(name="smallest")

    engine, app = Smallest(), FastAPI()
    engine.patch()
    assert (engine.name, engine.command, engine.moved_names) == ("smallest", None, {})
    assert [*engine.problems(), *engine.inference_paths(app)] == []
    assert not engine.owns(app)
    assert not engine.api_keys(app)
    runtime = engine.start(app)
    await runtime.check()
    await runtime.probe_generation()
    assert runtime.adapter_backend() is None
    assert not runtime.processes()
