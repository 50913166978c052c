"""Requests of 0.17: no ``lora_request``, and 16 tokens by default."""

from standins.trtllm_common import protocol


class CompletionRequest(protocol.CompletionRequest):
    max_tokens: int | None = 16


class ChatCompletionRequest(protocol.ChatCompletionRequest):
    pass
