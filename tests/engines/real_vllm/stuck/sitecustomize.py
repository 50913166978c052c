"""Stop vLLM's engine from generating, but not its loop, while a file exists."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path
from typing import Any

import wrapt

# As in tests/support/startup, which this file takes the place of.
gc.set_threshold(100_000, 50, 100)


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
