"""A client that hangs up is seen by TensorRT-LLM through every customisation."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from customised import KINDS
from promises.conftest import StandIn
from promises.test_disconnects import check_disconnect

RELEASE: Final = "trtllm_1_2"
#: Starlette's class reads what the client sends, and tells nobody.
HIDES_DISCONNECTS: Final = ("Starlette's class", "classes and formatters")

#: A customer's script that registers what the variable KIND names.
SCRIPT: Final = """
import os

from customised import DECORATORS, KINDS

for place, registered in KINDS[os.environ["KIND"]].items():
    DECORATORS[place](registered)
"""


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in HIDES_DISCONNECTS])
def test_the_engine_gives_up(kind: str, model_folder: Path) -> None:
    (model_folder / "model.py").write_text(SCRIPT)
    env = {
        "KIND": kind,
        "SAGEMAKER_MODEL_PATH": str(model_folder),
        "SAGEMAKER_ENABLE_STATEFUL_SESSIONS": "true",
    }
    engine = StandIn(RELEASE)
    with engine.serve(env=env, lora=True) as server:
        for stream in (False, True):
            check_disconnect(server, engine, "/invocations", stream=stream)
