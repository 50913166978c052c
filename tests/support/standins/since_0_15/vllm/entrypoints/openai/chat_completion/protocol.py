from standins.common.protocol import ChatCompletionRequest, ChatCompletionResponse

__all__ = [
    "ChatCompletionRequest",
    "ChatCompletionResponse",
]
