"""Names that TensorRT-LLM moved, on stand-ins for it."""

from __future__ import annotations

import sys
from typing import Final

import pytest

from model_hosting_container_standards.customer_code.moved_names import (
    install_moved_names,
)
from servers import run_until_exit
from trtllm import environment_of

PROGRAM: Final = f"""
from mhcs.tensorrt_llm import engine
from {install_moved_names.__module__} import install_moved_names

install_moved_names(engine.moved_names)
from tensorrt_llm import SamplingParams
from tensorrt_llm.hlapi import LLM, SamplingParams as Old
from tensorrt_llm.lora_helper import LoraConfig
import tensorrt_llm.lora_manager

assert Old is SamplingParams
assert tensorrt_llm.lora_manager.LoraConfig is LoraConfig
try:
    from tensorrt_llm.lora_manager import use_lora
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("release", ["trtllm_1_0", "trtllm_main"])
def test_scripts_for_older_releases_find_moved_names(release: str) -> None:
    end = run_until_exit([sys.executable, "-c", PROGRAM], environment_of(release))
    assert end.status == 0, end.stderr
    # The stand-in does not have that name.
    assert end.stdout == (
        "tensorrt_llm.lora_manager:use_lora moved to tensorrt_llm.lora_helper:use_lora "
        "after release 0.21, and is not there either.\n"
    )
