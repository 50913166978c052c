"""The common part of all layouts: arguments, sockets, uvicorn, internal state."""

from __future__ import annotations

import argparse
import os
import runpy
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request

from .logs import LOGGERS_AT_IMPORT, describe_loggers


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the arguments of ``vllm serve``, or of ``python -m ...api_server``."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    args = parser.parse_args(argv)
    args.model = args.model_tag or args.model
    return args


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every layout has."""
    parser.add_argument("model_tag", nargs="?")
    parser.add_argument("--model", default="standin")
    parser.add_argument("--dtype")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--api-server-count", type=int, default=1)
    parser.add_argument("--tool-parser-plugin", default="")


def import_plugin(args: argparse.Namespace) -> None:
    """Run the file of ``--tool-parser-plugin``, as vLLM does before ``build_app``."""
    if args.tool_parser_plugin:
        runpy.run_path(args.tool_parser_plugin, run_name="tool_parser_plugin")


def calls_bootstrap() -> bool:
    """Return whether the layout calls our package; tests can turn that off."""
    return os.environ.get("STANDIN_CALLS_BOOTSTRAP", "1") == "1"


def bind(args: argparse.Namespace) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((args.host, args.port))
    return sock


async def run_uvicorn(
    app: FastAPI, sock: socket.socket | None = None, **options: Any
) -> None:
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", **options))
    await server.serve(sockets=None if sock is None else [sock])


def make_app() -> FastAPI:
    app = FastAPI(lifespan=lifespan)
    app.add_api_route("/standin", look_inside)
    return app


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.started = True
    yield


def note_routes(app: FastAPI) -> None:
    """Record the routes that ``build_app`` returned."""
    app.state.routes_after_build_app = paths(app)


def paths(app: FastAPI) -> list[str | None]:
    """Return the path of each entry; None for an included router that is nested."""
    return [getattr(entry, "path", None) for entry in app.router.routes]


def look_inside(request: Request) -> dict[str, Any]:
    """Answer ``/standin``: return internal state, for tests."""
    app = request.app
    return {
        "pid": os.getpid(),
        "started": app.state.started,
        "routes": paths(app),
        "routes_after_build_app": app.state.routes_after_build_app,
        "loggers": describe_loggers(),
        "loggers_at_import": LOGGERS_AT_IMPORT,
    }
