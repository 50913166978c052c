"""Find which process has the other end of a local TCP connection (Linux only).

The kernel gives the inode of the peer's socket, and /proc the processes that have the
inode open.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import sys
from collections.abc import Collection
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, Final

#: An address and a port.
Endpoint = tuple[IPv4Address | IPv6Address, int]

#: Constants of netlink's socket diagnostics, see sock_diag(7).
_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_REQUEST: Final = 1
_ERROR: Final = 2
_HEADER: Final = struct.Struct("=IHHII")
#: inet_diag_req_v2: family, protocol, extensions, states.
_QUERY: Final = struct.Struct("=BBBxI")
#: inet_diag_sockid: ports and addresses of both ends.
_ENDPOINTS: Final = struct.Struct("!HH16s16s")
#: The rest of inet_diag_sockid: any interface, any cookie.
_ANY: Final = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
#: Offset of idiag_inode in the reply.
_INODE_OFFSET: Final = _HEADER.size + 4 + _ENDPOINTS.size + len(_ANY) + 16
_ALL_STATES: Final = 0xFFFFFFFF
_TIMEOUT_S: Final = 0.1
#: The inode's column in /proc/net/tcp, counted from behind the addresses.
_INODE_COLUMN: Final = 6


def endpoint(name: Any) -> Endpoint:
    """Return the endpoint for a socket name; an IPv4-mapped address becomes IPv4."""
    address, port = ip_address(name[0]), name[1]
    return getattr(address, "ipv4_mapped", None) or address, port


def find_socket(local: Endpoint, remote: Endpoint) -> int | None:
    """Return the inode of the socket with these endpoints, if there is one.

    Raises:
        OSError: neither netlink nor /proc/net is available.
    """
    try:
        return _ask_kernel(local, remote)
    except OSError:
        # Netlink may be forbidden or not built in. The tables are slower to search, as
        # they list all sockets.
        return _search_tables(local, remote)


def is_open_in(processes: Collection[int], inode: int) -> bool:
    """Whether one of the processes has the socket with this inode open."""
    return any(
        _has_open(inode) if pid == os.getpid() else _has_link(pid, inode)
        for pid in processes
    )


def _ask_kernel(local: Endpoint, remote: Endpoint) -> int | None:
    family = socket.AF_INET if local[0].version == 4 else socket.AF_INET6
    query = b"".join(
        (
            _QUERY.pack(family, socket.IPPROTO_TCP, 0, _ALL_STATES),
            _ENDPOINTS.pack(local[1], remote[1], _padded(local), _padded(remote)),
            _ANY,
        )
    )
    size = _HEADER.size + len(query)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _SOCK_DIAG) as kernel:
        kernel.settimeout(_TIMEOUT_S)
        kernel.send(_HEADER.pack(size, _BY_FAMILY, _REQUEST, 0, 0) + query)
        reply = kernel.recv(4096)
    if _HEADER.unpack_from(reply)[1] == _ERROR:
        number = -int.from_bytes(reply[_HEADER.size :][:4], sys.byteorder, signed=True)
        if number == errno.ENOENT:
            return None
        raise OSError(number, os.strerror(number))
    return int.from_bytes(reply[_INODE_OFFSET:][:4], sys.byteorder)


def _padded(end: Endpoint) -> bytes:
    return end[0].packed.ljust(16, b"\0")


def _search_tables(local: Endpoint, remote: Endpoint) -> int | None:
    columns = _columns(local, remote)
    for table in ("tcp", "tcp6"):
        _, match, rest = Path("/proc/self/net", table).read_text().partition(columns)
        if match:
            return int(rest.split(maxsplit=_INODE_COLUMN + 1)[_INODE_COLUMN])
        # IPv6 sockets that are connected over IPv4 have mapped addresses.
        columns = _columns(_mapped(local), _mapped(remote))
    return None


def _columns(local: Endpoint, remote: Endpoint) -> str:
    return f" {_hexadecimal(local)} {_hexadecimal(remote)} "


def _mapped(end: Endpoint) -> Endpoint:
    address, port = end
    mapped = IPv6Address(f"::ffff:{address}") if address.version == 4 else address
    return mapped, port


def _hexadecimal(end: Endpoint) -> str:
    """Return an endpoint as in /proc/net: 32-bit words in the machine's byte order."""
    packed = end[0].packed
    words = [packed[start : start + 4] for start in range(0, len(packed), 4)]
    numbers = [int.from_bytes(word, sys.byteorder) for word in words]
    return "".join(f"{number:08X}" for number in numbers) + f":{end[1]:04X}"


def _has_open(inode: int) -> bool:
    """Whether this process has a socket open; faster than reading the links."""
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208 - fast
        with suppress(OSError):  # The descriptor of the listing, or closed since.
            status = os.fstat(int(descriptor))
            if status.st_ino == inode and stat.S_ISSOCK(status.st_mode):
                return True
    return False


def _has_link(pid: int, inode: int) -> bool:
    folder, link = f"/proc/{pid}/fd", f"socket:[{inode}]"
    with suppress(OSError):  # The process has exited, or belongs to another user.
        for descriptor in os.listdir(folder):  # noqa: PTH208 - fast
            with suppress(OSError):
                if os.readlink(f"{folder}/{descriptor}") == link:  # noqa: PTH115 - fast
                    return True
    return False
