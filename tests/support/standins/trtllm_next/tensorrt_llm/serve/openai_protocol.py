from standins.trtllm_common.newest_protocol import (
    AnthropicCountTokensRequest,
    AnthropicCreateBatchRequest,
    AnthropicMessagesRequest,
    ChatCompletionRequest,
    CompletionRequest,
    ResponsesRequest,
    TokenizeRequest,
)

__all__ = [
    "AnthropicCountTokensRequest",
    "AnthropicCreateBatchRequest",
    "AnthropicMessagesRequest",
    "ChatCompletionRequest",
    "CompletionRequest",
    "ResponsesRequest",
    "TokenizeRequest",
]
