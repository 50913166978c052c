"""The module of ``serve_http`` since 0.29."""

import socket
from typing import Any

from fastapi import FastAPI

from standins.common.server import run_uvicorn


async def serve_http(
    app: FastAPI, sock: socket.socket | None, **uvicorn_kwargs: Any
) -> None:
    await run_uvicorn(app, sock, **uvicorn_kwargs)
