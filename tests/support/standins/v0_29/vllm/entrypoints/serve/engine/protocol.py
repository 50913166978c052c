from standins.common.protocol import ErrorInfo, ErrorResponse

__all__ = [
    "ErrorInfo",
    "ErrorResponse",
]
