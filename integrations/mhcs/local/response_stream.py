"""The response of a container as events of ``InvokeEndpointWithResponseStream``."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import anyio
import httpx

from .container import describe
from .event_stream import payload_part, stream_error


async def encode_stream(
    response: httpx.Response, deadline: float, limit_s: float
) -> AsyncIterator[bytes]:
    """Yield the events of a response, which the caller closes.

    Args:
        deadline: when the response has to be complete, in seconds of
            :func:`time.monotonic`.
        limit_s: the time of a stream, for the error.
    """
    chunks = response.aiter_raw()
    try:
        while (chunk := await _next(chunks, deadline)) is not None:
            yield payload_part(chunk)
    except TimeoutError:
        yield stream_error(
            "ModelInvocationTimeExceeded",
            f"The container has not finished its stream within {limit_s:g} s.",
        )
    except httpx.TransportError as error:
        yield stream_error(
            "StreamBroken", f"The container's stream broke: {describe(error)}"
        )


async def _next(chunks: AsyncIterator[bytes], deadline: float) -> bytes | None:
    """Return the next chunk, None at the end."""
    with anyio.fail_after(deadline - time.monotonic()):
        return await anext(chunks, None)
