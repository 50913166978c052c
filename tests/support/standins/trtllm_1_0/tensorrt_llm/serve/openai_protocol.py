"""Requests with ``lora_request``, whose path must exist."""

from standins.trtllm_common import protocol
from tensorrt_llm.executor.request import LoRARequest


class CompletionRequest(protocol.CompletionRequest):
    lora_request: LoRARequest | None = None


class ChatCompletionRequest(protocol.ChatCompletionRequest):
    lora_request: LoRARequest | None = None
