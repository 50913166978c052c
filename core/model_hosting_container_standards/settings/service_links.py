"""Recognises Kubernetes' service links: variables with the address of each service.

For a service called ``supervisor`` they begin with ``SUPERVISOR_``, as some variables
of this package do, and must be ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

_NAME: Final = re.compile(
    r".+?_(?P<kind>SERVICE_HOST|SERVICE_PORT(_\w+)?|"
    r"PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
_PROTOCOL: Final = re.compile(r"tcp|udp|sctp", re.IGNORECASE)
_URL: Final = re.compile(rf"({_PROTOCOL.pattern})://.+:\d+", re.IGNORECASE)


def is_service_link(name: str, value: str) -> bool:
    """Return whether a variable has the name and value of a service link."""
    match = _NAME.fullmatch(name)
    if match is None:
        return False
    kind, value = match["kind"], value.strip()
    if kind == "SERVICE_HOST" or kind.endswith("_ADDR"):
        return _is_address(value)
    if kind.endswith("_PROTO"):
        return bool(_PROTOCOL.fullmatch(value))
    if kind.startswith("SERVICE_") or kind.endswith("_PORT"):
        return value.isdecimal()
    return bool(_URL.fullmatch(value))


def find_service_links(
    environ: Mapping[str, str], prefixes: tuple[str, ...]
) -> list[str]:
    """Return the names of service links that begin with a prefix, sorted."""
    return [
        name
        for name, value in sorted(environ.items())
        if name.startswith(prefixes) and is_service_link(name, value)
    ]


def _is_address(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return True
