"""TensorRT-LLM after main: the server listens while it loads the model."""

from pathlib import Path

# Shared with other releases.
__path__.append(str(Path(__file__).parents[2] / "trtllm_common" / "tensorrt_llm"))

from tensorrt_llm.llmapi import LLM, SamplingParams  # noqa: E402 - found by that path
from tensorrt_llm.version import __version__  # noqa: E402

__all__ = ["LLM", "SamplingParams", "__version__"]
