"""All request and answer models in one module."""

from standins.common.protocol import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    CompletionRequest,
    CompletionResponse,
    ErrorInfo,
    ErrorResponse,
    LoadLoRAAdapterRequest,
)

__all__ = [
    "ChatCompletionRequest",
    "ChatCompletionResponse",
    "CompletionRequest",
    "CompletionResponse",
    "ErrorInfo",
    "ErrorResponse",
    "LoadLoRAAdapterRequest",
]
