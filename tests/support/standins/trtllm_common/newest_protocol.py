"""Request models of main. Those for /v1/responses ignore unknown fields."""

from typing import Any

from pydantic import BaseModel, ConfigDict
from tensorrt_llm.executor.request import LoRARequest

from standins.trtllm_common import protocol


class CompletionRequest(protocol.CompletionRequest):
    lora_request: LoRARequest | None = None


class ChatCompletionRequest(protocol.ChatCompletionRequest):
    lora_request: LoRARequest | None = None


class ResponsesRequest(protocol.ResponsesRequest):
    model_config = ConfigDict(extra="allow", populate_by_name=True)


class AnthropicCountTokensRequest(BaseModel):
    model: str
    messages: list[dict[str, Any]]


class AnthropicMessagesRequest(AnthropicCountTokensRequest):
    """A request of Anthropic's API, which has no adapters."""

    max_tokens: int


class AnthropicCreateBatchRequest(BaseModel):
    requests: list[AnthropicMessagesRequest]


class TokenizeRequest(BaseModel):
    model: str
    prompt: str
