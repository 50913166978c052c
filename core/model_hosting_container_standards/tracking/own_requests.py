"""Recognise requests that come from the server's own processes.

A customer's handler may call its own server; such a request belongs to the one that the
handler answers. It comes over loopback or a Unix socket, as the requests of a proxy in
the same container do, so that the kernel has to tell which process sent it. The lookup
takes a part of a millisecond and is only made before a request would be refused.
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
    """Recognises requests that come from a process of this server.

    Args:
        heartbeat: lists the server's processes; None without a supervisor.
    """

    def __init__(self, heartbeat: WorkerHeartbeat | None) -> None:
        self._heartbeat = heartbeat

    @property
    def is_alone(self) -> bool:
        """Whether this process is the whole server, as far as is known."""
        return self._heartbeat is None and multiprocessing.parent_process() is None

    def includes(self, send: Send) -> bool:
        """Whether a process of this server sent the request.

        Args:
            send: the request's ``send``, a method of uvicorn's, which has the
                connection; False for any other.
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
            return False  # The client has disconnected, or the kernel denies access.

    def _is_own_peer(self, connection: Any) -> bool:
        local = endpoint(connection.getsockname())
        remote = endpoint(connection.getpeername())
        # A machine can also reach itself by its own address.
        if not remote[0].is_loopback and remote[0] != local[0]:
            return False
        inode = find_socket(remote, local)
        return inode is not None and is_open_in(self._processes(), inode)

    def _processes(self) -> Collection[int]:
        """Return the ids of the server's processes, this one first."""
        others: Collection[int] = ()
        if self._heartbeat is not None:
            others = self._heartbeat.processes()
        elif multiprocessing.parent_process() is not None:
            # The other workers of a server are children of the same parent.
            others = children(os.getppid())
        return dict.fromkeys((os.getpid(), *others))


def _peer_process(connection: Any) -> int:
    """Return the id of the process that connected to a Unix socket."""
    size = _CREDENTIALS.size
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid: int = _CREDENTIALS.unpack(credentials)[0]
    return pid
