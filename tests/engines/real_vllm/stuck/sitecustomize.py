"""Stop vLLM's engine from generating, but not its loop, while a file exists.

A number in the file is the seconds before each step: the engine is slow, not stuck.
"""

from __future__ import annotations

import math
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
        try:
            seconds = float(stuck.read_text() or "inf")
        except FileNotFoundError:
            seconds = 0
        if math.isinf(seconds):
            time.sleep(0.01)
            return False
        time.sleep(seconds)
        result: bool = step(engine)
        return result

    core.EngineCoreProc._process_engine_step = step_unless_stuck
