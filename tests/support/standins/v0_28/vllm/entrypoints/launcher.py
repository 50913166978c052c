"""The module of ``serve_http`` up to 0.28."""

import socket
from typing import Any

from fastapi import FastAPI

from standins.common.server import run_uvicorn


async def serve_http(
    app: FastAPI, sock: socket.socket | None, **uvicorn_kwargs: Any
) -> None:
    await run_uvicorn(app, sock, **uvicorn_kwargs)
