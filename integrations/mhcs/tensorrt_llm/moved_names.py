"""Names that moved between releases of TensorRT-LLM.

The names that scripts import from ``tensorrt_llm``, ``llmapi`` and ``serve`` have not
moved since 0.17, the first supported release.
"""

from __future__ import annotations

from typing import Final

from model_hosting_container_standards.engines import Move, MovedNames

_HIGH_LEVEL: Final = (
    *("BuildConfig", "CapacitySchedulerPolicy", "KvCacheConfig", "LLM", "QuantAlgo"),
    *("QuantConfig", "RequestOutput", "SamplingParams", "SchedulerConfig"),
)
_LORA: Final = ("LoraConfig", "get_default_trtllm_modules_to_hf_modules", "use_lora")

MOVED_NAMES: Final[MovedNames] = {
    "tensorrt_llm.hlapi": [Move([*_HIGH_LEVEL], "0.16", "tensorrt_llm.llmapi")],
    "tensorrt_llm.lora_manager": [Move([*_LORA], "0.21", "tensorrt_llm.lora_helper")],
}
