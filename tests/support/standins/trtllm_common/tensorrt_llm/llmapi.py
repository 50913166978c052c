"""The names of ``tensorrt_llm.llmapi`` that a server or a customer imports."""

from standins.trtllm_common.llm import LLM
from standins.trtllm_common.output import RequestOutput

from .executor.request import LoRARequest
from .lora_helper import LoraConfig
from .sampling_params import SamplingParams

__all__ = ["LLM", "LoRARequest", "LoraConfig", "RequestOutput", "SamplingParams"]
