"""Stop vLLM's engine from generating, but not its loop, while a file exists."""

from __future__ import annotations

import os
import runpy
import time
from pathlib import Path
from typing import Any

import wrapt

# Python imports one file of this name; this is the other one.
runpy.run_path(str(Path(__file__).parents[4] / "tools/cpu_startup/sitecustomize.py"))


@wrapt.when_imported("vllm.v1.engine.core")
def patch(core: Any) -> None:
    step = core.EngineCoreProc._process_engine_step
    stuck = Path(os.environ["STUCK"])

    def step_unless_stuck(engine: Any) -> bool:
        if not stuck.exists():
            result: bool = step(engine)
            return result
        time.sleep(0.01)
        return False

    core.EngineCoreProc._process_engine_step = step_unless_stuck
