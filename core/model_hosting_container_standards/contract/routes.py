"""The routes that SageMaker calls on every server."""

from __future__ import annotations

from typing import Final

import msgspec

PING: Final = "ping"
INVOKE: Final = "invoke"
STREAM: Final = "stream"


# A Struct, as everywhere here: defining a dataclass takes 50 times as long.
class RouteConfig(msgspec.Struct, frozen=True):
    """A route: its path, its HTTP methods, and its handler's name."""

    path: str
    methods: tuple[str, ...]
    handler: str


PING_ROUTE: Final = RouteConfig("/ping", ("GET", "POST"), PING)
INVOCATIONS_ROUTE: Final = RouteConfig("/invocations", ("POST",), INVOKE)
#: Where a batch transform job asks for its parameters.
EXECUTION_PARAMETERS: Final = "/execution-parameters"
#: The WebSocket of bidirectional streaming.
BIDIRECTIONAL_STREAM: Final = "/invocations-bidirectional-stream"
#: An engine's WebSocket for the events of OpenAI's realtime API, which are JSON.
REALTIME: Final = "/v1/realtime"
