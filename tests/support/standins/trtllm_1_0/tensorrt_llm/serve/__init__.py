from pathlib import Path

_COMMON = Path(__file__).parents[3] / "trtllm_common"
__path__.append(str(_COMMON / "tensorrt_llm" / "serve"))

# Found by that path.
from tensorrt_llm.serve.openai_disagg_server import OpenAIDisaggServer  # noqa: E402
from tensorrt_llm.serve.openai_server import OpenAIServer  # noqa: E402

__all__ = ["OpenAIDisaggServer", "OpenAIServer"]
