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

_ID_BYTES: Final = 16
#: New ids, as many as one system call reads the random bytes for. A list, because its
#: ``pop`` is atomic: no two threads get the same id.
_new_ids: Final[list[bytes]] = []
_READ_AT_ONCE: Final = 64
# A forked child must not use the ids of its parent.
os.register_at_fork(after_in_child=_new_ids.clear)


def choose_id(inference_id: bytes | None, request_id: bytes | None) -> bytes:
    """Return SageMaker's inference id, else ``X-Request-Id``, else a new id.

    Ids are 1 to 64 visible ASCII characters; others are ignored.
    """
    if inference_id is not None and _is_valid(inference_id):
        return inference_id
    if request_id is not None and _is_valid(request_id):
        return request_id
    try:
        return _new_ids.pop()
    except IndexError:
        return _fill_new_ids()


def new_id(size: int) -> bytes:
    """Return a random id of ``size`` bytes, as ``2 * size`` hexadecimal digits."""
    return os.urandom(size).hex().encode()


def _fill_new_ids() -> bytes:
    """Read random bytes for further ids, and return one that is not among them."""
    digits = new_id(_ID_BYTES * _READ_AT_ONCE)
    size = 2 * _ID_BYTES
    first, *others = (digits[i : i + size] for i in range(0, len(digits), size))
    _new_ids.extend(others)
    return first
