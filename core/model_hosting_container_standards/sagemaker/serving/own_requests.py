"""Requests that a server's own processes make, as a customer's handler may.

Such a request belongs to the one that the handler answers. It comes over loopback, or a
Unix socket, as those of a proxy in the same container do: the system knows whose socket
is at the other end. To ask it takes a part of a millisecond, so that it is asked only
where a request would be refused.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import struct
import sys
from collections.abc import Collection
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, Final

from starlette.types import Send

from ...supervisor.board import Seat
from ...supervisor.orphans import children

_CREDENTIALS: Final = struct.Struct("3i")
#: The column of /proc/net/tcp that has a socket's number, counted from its addresses.
_INODE: Final = 6

#: An address and a port.
Endpoint = tuple[IPv4Address | IPv6Address, int]


class OwnRequests:
    """Tells which requests come from a process of this server.

    Args:
        seat: where the server's processes know of each other, if anywhere.
    """

    def __init__(self, seat: Seat | None) -> None:
        self._seat = seat

    def has_sent(self, send: Send) -> bool:
        """Whether a process of this server waits for a response.

        Args:
            send: uvicorn's own, which knows the connection; False for any other.
        """
        transport = getattr(getattr(send, "__self__", None), "transport", None)
        connection = transport and transport.get_extra_info("socket")
        if connection is None:
            return False
        try:
            if connection.family == socket.AF_UNIX:
                return _peer_process(connection) in self._processes()
            return self._is_own_peer(connection)
        except (OSError, ValueError):
            return False  # The client has left, or the system does not say.

    def _is_own_peer(self, connection: Any) -> bool:
        ours = _endpoint(connection.getsockname())
        theirs = _endpoint(connection.getpeername())
        # By its own address a machine reaches itself too.
        if not theirs[0].is_loopback and theirs[0] != ours[0]:
            return False
        inode = _find_socket(theirs, ours)
        return inode is not None and any(
            _has_socket(pid, inode) for pid in self._processes()
        )

    def _processes(self) -> Collection[int]:
        """Return the processes that answer requests, of which this is one."""
        found = {os.getpid()}
        if self._seat is not None:
            found.update(self._seat.processes())
        elif multiprocessing.parent_process() is not None:
            # Servers of several processes start them alike.
            found.update(children(os.getppid()))
        return found


def _peer_process(connection: Any) -> int:
    """Return the process that has connected to a Unix socket."""
    size = _CREDENTIALS.size
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid: int = _CREDENTIALS.unpack(credentials)[0]
    return pid


def _endpoint(name: Any) -> Endpoint:
    address, port = ip_address(name[0]), name[1]
    return getattr(address, "ipv4_mapped", None) or address, port


def _find_socket(local: Endpoint, remote: Endpoint) -> str | None:
    """Return the number of the socket that is connected so, of this machine's."""
    wanted = _columns(local, remote)
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            _, found, rest = Path("/proc/self/net", table).read_text().partition(wanted)
            if found:
                return rest.split(maxsplit=_INODE + 1)[_INODE]
        # Sockets of IPv6 have mapped addresses where they are connected by IPv4.
        wanted = _columns(_mapped(local), _mapped(remote))
    return None


def _columns(local: Endpoint, remote: Endpoint) -> str:
    return f" {_hexadecimal(local)} {_hexadecimal(remote)} "


def _mapped(endpoint: Endpoint) -> Endpoint:
    address, port = endpoint
    mapped = IPv6Address(f"::ffff:{address}") if address.version == 4 else address
    return mapped, port


def _hexadecimal(endpoint: Endpoint) -> str:
    """Return an address and a port as /proc/net has them: by words of the machine."""
    packed = endpoint[0].packed
    words = [packed[at : at + 4] for at in range(0, len(packed), 4)]
    numbers = [int.from_bytes(word, sys.byteorder) for word in words]
    return "".join(f"{number:08X}" for number in numbers) + f":{endpoint[1]:04X}"


def _has_socket(pid: int, inode: str) -> bool:
    link = f"socket:[{inode}]"
    with suppress(OSError):  # It is gone.
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(file.readlink()) == link:
                    return True
    return False
