"""The routes of the contract."""

from __future__ import annotations

from typing import Final

import msgspec

PING: Final = "ping"
INVOKE: Final = "invoke"


# Structs, here and elsewhere: defining a dataclass takes 50 times as long.
class RouteConfig(msgspec.Struct, frozen=True):
    """A route of the contract: its path, its methods, and its handler's name."""

    path: str
    methods: tuple[str, ...]
    handler: str


PING_ROUTE: Final = RouteConfig("/ping", ("GET", "POST"), PING)
INVOCATIONS_ROUTE: Final = RouteConfig("/invocations", ("POST",), INVOKE)
