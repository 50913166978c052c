"""The id of the current request."""

from __future__ import annotations

import os
import re
from contextvars import ContextVar
from typing import Final

#: SageMaker's header for the id that a client chose.
INFERENCE_ID: Final = b"x-amzn-sagemaker-inference-id"
X_REQUEST_ID: Final = b"x-request-id"

#: None outside of requests.
REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)

#: Visible ASCII, which is safe in log lines and headers.
_is_valid: Final = re.compile(rb"[!-~]{1,64}").fullmatch


def choose_id(inference_id: bytes | None, request_id: bytes | None) -> bytes:
    """Return SageMaker's inference id, else ``X-Request-Id``, else a new id.

    Ids are 1 to 64 visible ASCII characters; others are ignored.
    """
    if inference_id is not None and _is_valid(inference_id):
        return inference_id
    if request_id is not None and _is_valid(request_id):
        return request_id
    return new_id(16)


def new_id(size: int) -> bytes:
    """Return a random id of ``size`` bytes, as ``2 * size`` hexadecimal digits."""
    return os.urandom(size).hex().encode()
