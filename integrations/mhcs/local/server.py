"""The process of ``mhcs local``: a server in front of a container."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
import uvicorn

from model_hosting_container_standards.processes import tree

from ..addresses import url_of
from .app import make_app
from .command import with_port
from .components import Component, Components
from .container import Container
from .endpoint import Endpoint
from .lifecycle import Lifecycle
from .limits import Limits
from .s3_folder import S3Folder

#: Seconds that requests have to end after the container.
_SHUTDOWN_S: Final = 5


class Options(msgspec.Struct, frozen=True):
    """What the command line says.

    Args:
        host: the address of the endpoint.
        port: its port; 0 takes a free one.
        container: the container's URL.
        command: starts the container; empty if it runs.
        s3_folder: stands for S3.
    """

    host: str
    port: int
    container: str
    command: Sequence[str]
    components: Sequence[Component]
    limits: Limits
    s3_folder: Path | None


def run(options: Options, report: Callable[[str], None]) -> int:
    """Serve until a signal, or the end of the command; return the exit status.

    Args:
        report: called with a sentence for the operator.

    Raises:
        OSError: the address cannot be used.
    """
    with _bind(options.host, options.port) as listener, tree.adopting_orphans():
        return asyncio.run(_serve(options, listener, report))


class _Uvicorn(uvicorn.Server):
    """A uvicorn that leaves signals alone."""

    def install_signal_handlers(self) -> None:
        """Replace the method of uvicorn up to 0.28."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Replace the method of later releases."""
        yield


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise OSError(
            f"cannot listen on {host}:{port}: {error.strerror}. Give another --port."
        ) from error


def _url(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    return url_of(host, port)


async def _serve(
    options: Options, listener: socket.socket, report: Callable[[str], None]
) -> int:
    endpoint = _endpoint(options, report)
    config = uvicorn.Config(
        make_app(endpoint),
        http="h11",  # The same with and without httptools.
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    server = _Uvicorn(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    port = urlsplit(options.container).port or 80
    command = with_port(options.command, port) if options.command else []
    try:
        return await Lifecycle(endpoint, _url(listener), command, port, report).run()
    finally:
        server.should_exit = True
        await serving
        await endpoint.aclose()


def _endpoint(options: Options, report: Callable[[str], None]) -> Endpoint:
    folder = options.s3_folder
    return Endpoint(
        Container(options.container),
        Components(options.components),
        options.limits,
        None if folder is None else S3Folder(folder),
        report,
    )
