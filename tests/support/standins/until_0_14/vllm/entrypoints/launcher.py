"""The module of ``serve_http`` up to 0.28."""

from typing import Any

from fastapi import FastAPI

from standins.common.server import run_uvicorn


async def serve_http(app: FastAPI, **uvicorn_kwargs: Any) -> None:
    await run_uvicorn(app, **uvicorn_kwargs)
