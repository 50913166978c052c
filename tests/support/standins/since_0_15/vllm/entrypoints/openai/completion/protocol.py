from standins.common.protocol import CompletionRequest, CompletionResponse

__all__ = [
    "CompletionRequest",
    "CompletionResponse",
]
