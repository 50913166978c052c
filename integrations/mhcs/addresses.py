"""Names of servers, by the addresses they are told to listen on."""

from __future__ import annotations

from typing import Final

#: What stands for every address of the machine.
_EVERY: Final = frozenset({"", "0.0.0.0", "::", "[::]"})


def server_name(engine: str, host: str | None, port: int | str | None) -> str:
    """Return the name of the server at an address, which is the name of a folder too.

    Two servers may have one port, of two addresses.
    """
    host = (host or "").replace("/", "_")
    parts = (engine, "" if host in _EVERY else host, "" if port is None else str(port))
    return "-".join(filter(None, parts))
