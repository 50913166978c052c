"""A request to the endpoint, read and checked."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from starlette.requests import Request

from .errors import ValidationError
from .parameters import ENDPOINT_NAME, Parameter, Values


class Call(msgspec.Struct, frozen=True):
    """An invocation.

    Args:
        endpoint: the endpoint's name.
        values: the other parameters.
    """

    endpoint: str
    values: Values
    body: bytes


async def read_call(
    request: Request, parameters: Sequence[Parameter], max_body: int
) -> Call:
    """Read a request.

    Args:
        parameters: of the operation.
        max_body: bytes.

    Raises:
        ValidationError: SageMaker does not allow a parameter, or the body's length.
    """
    body = await _read_body(request, max_body)
    endpoint = ENDPOINT_NAME.check(request.path_params["endpoint"])
    return Call(endpoint, Values(parameters, request.headers), body)


async def _read_body(request: Request, limit: int) -> bytes:
    chunks, size = [], 0
    # What is left of a longer body, uvicorn reads to its end.
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            length = request.headers.get("content-length", f"at least {size}")
            raise ValidationError(
                f"The body has {length} bytes, and SageMaker allows {limit}."
            )
    return b"".join(chunks)
