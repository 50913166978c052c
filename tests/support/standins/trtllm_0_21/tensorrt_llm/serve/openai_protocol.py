"""Requests of 0.21: no ``lora_request``."""

from standins.trtllm_common.protocol import ChatCompletionRequest, CompletionRequest

__all__ = ["ChatCompletionRequest", "CompletionRequest"]
