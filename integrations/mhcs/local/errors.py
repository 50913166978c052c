"""The errors of SageMaker's runtime API.

ApiError
  ValidationError          400: the request is not allowed
  UnknownOperationError    404: not an operation of the runtime API
  ModelError               424: the container answered with an error, or not at all
  ServiceUnavailable       503: the container cannot be reached, or is not healthy yet
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

#: The longest message that SageMaker returns, in characters.
MAX_MESSAGE: Final = 2048
#: The ``OriginalStatusCode`` of a container without an answer.
NO_STATUS: Final = 0
_LOG_STREAM: Final = (
    "arn:aws:logs:local:000000000000:log-group:/aws/sagemaker/Endpoints"
)


class ApiError(Exception):
    """An error response; ``code`` is the name of the exception in boto3."""

    status: ClassVar[int]
    code: ClassVar[str]

    @property
    def message(self) -> str:
        return str(self)[:MAX_MESSAGE]

    def document(self, endpoint: str) -> dict[str, Any]:
        """Return the members of the error."""
        del endpoint
        return {"Message": self.message}


class ValidationError(ApiError):
    """The request is not allowed."""

    status = 400
    code = "ValidationError"


class UnknownOperationError(ApiError):
    """The path is not an operation of the runtime API."""

    status = 404
    code = "UnknownOperationException"

    def document(self, endpoint: str) -> dict[str, Any]:
        # Clients of other APIs, as that of the control plane, read the code here.
        return {**super().document(endpoint), "__type": self.code}


class ServiceUnavailable(ApiError):
    """The container cannot be reached, or is not healthy yet."""

    status = 503
    code = "ServiceUnavailable"


class ModelError(ApiError):
    """The container answered with an error, or not as SageMaker requires.

    Args:
        reason: the container's message, or what is wrong with its answer.
        original_status: the container's status, :data:`NO_STATUS` without one.
    """

    status = 424
    code = "ModelError"

    def __init__(self, reason: str, original_status: int = NO_STATUS) -> None:
        side = "client" if 400 <= original_status < 500 else "server"
        super().__init__(
            f'Received {side} error ({original_status}) from primary with message "'
            f'{reason}". See the output of the container.'
        )
        self.reason = reason
        self.original_status = original_status

    def document(self, endpoint: str) -> dict[str, Any]:
        return {
            **super().document(endpoint),
            "OriginalStatusCode": self.original_status,
            "OriginalMessage": self.reason[:MAX_MESSAGE],
            "LogStreamArn": f"{_LOG_STREAM}/{endpoint}",
        }


def answer_error(request: Request, error: Exception) -> Response:
    """Return the response of an :class:`ApiError`."""
    assert isinstance(error, ApiError)
    return JSONResponse(
        error.document(request.path_params.get("endpoint", "")),
        error.status,
        {"x-amzn-ErrorType": error.code},
    )
