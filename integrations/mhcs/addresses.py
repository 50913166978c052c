"""Names and URLs of servers, derived from the addresses that they listen on."""

from __future__ import annotations

from typing import Final

#: Hosts that mean all addresses of the machine.
_ALL_ADDRESSES: Final = frozenset({"", "0.0.0.0", "::", "[::]"})


def server_name(engine: str, host: str | None, port: int | str | None) -> str:
    """Return a server's name, such as ``vllm-8080``, which is valid as a folder name.

    The host is included unless it means all addresses, as two servers may share a port.
    """
    host = (host or "").replace("/", "_")
    name = "" if host in _ALL_ADDRESSES else host
    return "-".join(filter(None, (engine, name, "" if port is None else str(port))))


def url_of(host: str, port: int, scheme: str = "http") -> str:
    """Return the URL of an address; one of IPv6 is put in brackets."""
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{port}"
