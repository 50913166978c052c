"""SageMaker's limits of invocations."""

from __future__ import annotations

from typing import Final

import msgspec

#: The body of a request or a response, in bytes.
MAX_BODY: Final = 25 * 1024**2
#: The body of an asynchronous request, and the file that it may name instead.
MAX_ASYNC_BODY: Final = 128_000
MAX_ASYNC_FILE: Final = 1024**3
#: ``ContainerStartupHealthCheckTimeoutInSeconds`` is at most this.
MAX_STARTUP_S: Final = 3600.0


class Limits(msgspec.Struct, frozen=True):
    """Times in seconds; the defaults are SageMaker's.

    Args:
        invocation_s: until the response is complete, or a stream has begun.
        stream_s: until a stream is complete.
        startup_s: until ``/ping`` is 200, and then for each adapter's registration.
    """

    invocation_s: float = 60.0
    stream_s: float = 480.0
    startup_s: float = 480.0
