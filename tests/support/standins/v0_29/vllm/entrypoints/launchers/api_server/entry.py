"""One API server, in this process or in a spawned one."""

import asyncio
import socket
from argparse import Namespace

from standins.common.server import bind, import_plugin, note_routes, parse_arguments
from standins.common.serving import init_app_state

from ..app import build_app
from ..launcher import serve_http


async def run_server(args: Namespace) -> None:
    await run_server_worker(bind(args), args)


async def run_server_worker(sock: socket.socket, args: Namespace) -> None:
    import_plugin(args)
    app = build_app(args, ("generate",))
    note_routes(app)
    init_app_state(app.state, args)
    await serve_http(app, sock=sock)


def run_api_server_worker_proc(sock: socket.socket, args: Namespace) -> None:
    """Run an API server in a spawned process."""
    asyncio.run(run_server_worker(sock, args))


def main() -> None:
    asyncio.run(run_server(parse_arguments()))
