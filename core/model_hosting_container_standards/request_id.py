"""The id of the request that is being answered."""

from __future__ import annotations

import os
import re
from contextvars import ContextVar
from typing import Final

#: What the platform calls a request, if its client gave it a name.
INFERENCE_ID: Final = b"x-amzn-sagemaker-inference-id"
X_REQUEST_ID: Final = b"x-request-id"

#: None outside of requests.
REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)

#: What may stand in a line of a log, and in a header: visible ASCII.
_is_valid: Final = re.compile(rb"[!-~]{1,64}").fullmatch


def choose_id(inference_id: bytes | None, request_id: bytes | None) -> bytes:
    """Return the platform's id of a request, else the client's own, else a new one.

    One that is not 1 to 64 visible characters of ASCII is none.
    """
    if inference_id is not None and _is_valid(inference_id):
        return inference_id
    if request_id is not None and _is_valid(request_id):
        return request_id
    return new_id(16)


def new_id(size: int) -> bytes:
    """Return twice as many random hexadecimal digits."""
    return os.urandom(size).hex().encode()
