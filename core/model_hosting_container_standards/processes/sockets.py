"""Whose socket is at the other end of a TCP connection of this machine's.

Linux alone can tell: by its number, and by the processes that have it open.
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

#: netlink's, for questions about sockets.
_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_REQUEST: Final = 1
_ERROR: Final = 2
_HEADER: Final = struct.Struct("=IHHII")
#: Family, protocol, what is to be told, and in which states.
_QUESTION: Final = struct.Struct("=BBBxI")
_ENDS: Final = struct.Struct("!HH16s16s")
#: Of any interface, and whatever its cookie.
_ANY: Final = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
#: At the end of an answer, behind the same and some counters.
_INODE_AT: Final = _HEADER.size + 4 + _ENDS.size + len(_ANY) + 16
_ALL_STATES: Final = 0xFFFFFFFF
_TIMEOUT_S: Final = 0.1
#: The column of /proc/net/tcp that has a socket's number, counted from its addresses.
_COLUMN: Final = 6


def endpoint(name: Any) -> Endpoint:
    """Return what a socket is bound or connected to; IPv4's, where that is mapped."""
    address, port = ip_address(name[0]), name[1]
    return getattr(address, "ipv4_mapped", None) or address, port


def find_socket(local: Endpoint, remote: Endpoint) -> int | None:
    """Return the number of the socket that is connected so, if there is one.

    Raises:
        OSError: the system does not say.
    """
    try:
        return _ask_kernel(local, remote)
    except OSError:
        # It may be forbidden, or not be built in. The other way is a slow one: all
        # sockets are looked at.
        return _search_tables(local, remote)


def is_open_in(processes: Collection[int], inode: int) -> bool:
    """Whether one of some processes has the socket of a number open."""
    return any(
        _has_open(inode) if pid == os.getpid() else _has_link(pid, inode)
        for pid in processes
    )


def _ask_kernel(local: Endpoint, remote: Endpoint) -> int | None:
    family = socket.AF_INET if local[0].version == 4 else socket.AF_INET6
    question = b"".join(
        (
            _QUESTION.pack(family, socket.IPPROTO_TCP, 0, _ALL_STATES),
            _ENDS.pack(local[1], remote[1], _padded(local), _padded(remote)),
            _ANY,
        )
    )
    size = _HEADER.size + len(question)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _SOCK_DIAG) as kernel:
        kernel.settimeout(_TIMEOUT_S)
        kernel.send(_HEADER.pack(size, _BY_FAMILY, _REQUEST, 0, 0) + question)
        answer = kernel.recv(4096)
    if _HEADER.unpack_from(answer)[1] == _ERROR:
        number = -int.from_bytes(answer[_HEADER.size :][:4], sys.byteorder, signed=True)
        if number == errno.ENOENT:
            return None
        raise OSError(number, os.strerror(number))
    return int.from_bytes(answer[_INODE_AT:][:4], sys.byteorder)


def _padded(end: Endpoint) -> bytes:
    return end[0].packed.ljust(16, b"\0")


def _search_tables(local: Endpoint, remote: Endpoint) -> int | None:
    wanted = _columns(local, remote)
    for table in ("tcp", "tcp6"):
        _, found, rest = Path("/proc/self/net", table).read_text().partition(wanted)
        if found:
            return int(rest.split(maxsplit=_COLUMN + 1)[_COLUMN])
        # Sockets of IPv6 have mapped addresses where they are connected by IPv4.
        wanted = _columns(_mapped(local), _mapped(remote))
    return None


def _columns(local: Endpoint, remote: Endpoint) -> str:
    return f" {_hexadecimal(local)} {_hexadecimal(remote)} "


def _mapped(end: Endpoint) -> Endpoint:
    address, port = end
    mapped = IPv6Address(f"::ffff:{address}") if address.version == 4 else address
    return mapped, port


def _hexadecimal(end: Endpoint) -> str:
    """Return an address and a port as /proc/net has them: by words of the machine."""
    packed = end[0].packed
    words = [packed[at : at + 4] for at in range(0, len(packed), 4)]
    numbers = [int.from_bytes(word, sys.byteorder) for word in words]
    return "".join(f"{number:08X}" for number in numbers) + f":{end[1]:04X}"


def _has_open(inode: int) -> bool:
    """Whether this process has a socket open; it sees that sooner than others do."""
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208 - fast
        with suppress(OSError):  # It was the folder's own, or is closed.
            found = os.fstat(int(descriptor))
            if found.st_ino == inode and stat.S_ISSOCK(found.st_mode):
                return True
    return False


def _has_link(pid: int, inode: int) -> bool:
    folder, link = f"/proc/{pid}/fd", f"socket:[{inode}]"
    with suppress(OSError):  # It is gone, or another user's.
        for descriptor in os.listdir(folder):  # noqa: PTH208 - fast
            with suppress(OSError):
                if os.readlink(f"{folder}/{descriptor}") == link:  # noqa: PTH115 - fast
                    return True
    return False
