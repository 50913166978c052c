"""The address of the container under test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from ..addresses import url_of

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """Where the container listens; ``prefix`` precedes each path."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @property
    def url(self) -> str:
        return url_of(self.host, self.port, self.scheme) + self.prefix


def parse_address(url: str) -> Address:
    """Return the address of a URL; without a scheme it is ``http``.

    Raises:
        ValueError: it is not a URL of HTTP, or it has credentials or a query.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in _PORTS:
        raise ValueError(f"{parts.scheme}:// is neither http:// nor https://")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("give only scheme, host, port and path, and --api-key")
    if not parts.hostname or any(character <= " " for character in parts.path):
        raise ValueError("there is no host, or the path has white space")
    port = parts.port if parts.port is not None else _PORTS[parts.scheme]
    prefix = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=")
    return Address(parts.scheme, parts.hostname, port, prefix)
