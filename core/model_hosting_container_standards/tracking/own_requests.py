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
from collections.abc import Collection
from typing import Any, Final

from starlette.types import Send

from ..processes.heartbeat import WorkerHeartbeat
from ..processes.sockets import endpoint, find_socket, is_open_in
from ..processes.tree import children

_CREDENTIALS: Final = struct.Struct("3i")


class OwnRequests:
    """Tells which requests come from a process of this server.

    Args:
        seat: where the server's processes know of each other, if anywhere.
    """

    def __init__(self, heartbeat: WorkerHeartbeat | None) -> None:
        self._heartbeat = heartbeat

    @property
    def is_alone(self) -> bool:
        """Whether this process is all of the server, as far as is known."""
        return self._heartbeat is None and multiprocessing.parent_process() is None

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
        ours = endpoint(connection.getsockname())
        theirs = endpoint(connection.getpeername())
        # By its own address a machine reaches itself too.
        if not theirs[0].is_loopback and theirs[0] != ours[0]:
            return False
        inode = find_socket(theirs, ours)
        return inode is not None and is_open_in(self._processes(), inode)

    def _processes(self) -> Collection[int]:
        """Return the processes that answer requests, this one first."""
        others: Collection[int] = ()
        if self._heartbeat is not None:
            others = self._heartbeat.processes()
        elif multiprocessing.parent_process() is not None:
            # Servers of several processes start them alike.
            others = children(os.getppid())
        return dict.fromkeys((os.getpid(), *others))


def _peer_process(connection: Any) -> int:
    """Return the process that has connected to a Unix socket."""
    size = _CREDENTIALS.size
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid: int = _CREDENTIALS.unpack(credentials)[0]
    return pid
