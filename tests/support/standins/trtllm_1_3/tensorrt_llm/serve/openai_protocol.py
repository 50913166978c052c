"""Requests with ``lora_request``, whose path must exist."""

from standins.trtllm_common import protocol
from standins.trtllm_common.protocol import ResponsesRequest
from tensorrt_llm.executor.request import LoRARequest

__all__ = ["ChatCompletionRequest", "CompletionRequest", "ResponsesRequest"]


class CompletionRequest(protocol.CompletionRequest):
    lora_request: LoRARequest | None = None


class ChatCompletionRequest(protocol.ChatCompletionRequest):
    lora_request: LoRARequest | None = None
