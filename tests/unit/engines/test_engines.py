"""The public names of ``engines``, and an engine's defaults."""

from __future__ import annotations

import json
import sys
from typing import Final

import pytest
from fastapi import FastAPI

from model_hosting_container_standards import engines
from servers import run_until_exit

#: Packages that only a server needs.
SERVER_PACKAGES: Final = {"fastapi", "pydantic", "sqlite3", "starlette"}
PATCHED_PROGRAM: Final = (
    "import json, sys, mhcs.auto; print(json.dumps([*sys.modules]))"
)


@pytest.mark.parametrize("name", engines.__all__)
def test_all_public_names_are_importable(name: str) -> None:
    assert getattr(engines, name) is not None


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'NoSuchName'"):
        _ = engines.NoSuchName


def test_patched_process_imports_no_server_packages() -> None:
    # Without coverage, which imports sqlite3.
    env = {"COVERAGE_PROCESS_CONFIG": ""}
    end = run_until_exit([sys.executable, "-c", PATCHED_PROGRAM], env)
    loaded = {*json.loads(end.stdout)}
    assert "mhcs.vllm.engine" in loaded
    assert not loaded & SERVER_PACKAGES


async def test_engine_needs_only_a_name() -> None:
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
    assert runtime.max_concurrency() is None
    assert not runtime.processes()
