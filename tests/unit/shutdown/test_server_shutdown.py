"""Shutdown callbacks of an app where one event loop runs several servers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from model_hosting_container_standards.shutdown.server_shutdown import (
    add_callback,
    remove_callback,
)


class Wrapper:
    """ASGI middleware that a program wraps around an app."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


async def serve_and_shut_down(app: Any) -> None:
    config = uvicorn.Config(app, port=0, lifespan="off", log_level="warning")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    await server.shutdown()


def shut_down_outside_a_loop() -> None:
    """Create a server's shutdown coroutine where no event loop runs."""
    uvicorn.Server(uvicorn.Config(FastAPI())).shutdown().close()


def wrapped(app: FastAPI) -> Any:
    return Wrapper(Wrapper(app))


def mounted(app: FastAPI) -> Any:
    outer = FastAPI()
    outer.mount("/inner", Wrapper(app))
    return outer


async def metrics(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """An ASGI app that is not FastAPI's."""


async def count_callbacks(app: FastAPI, served: Any) -> int:
    calls: list[None] = []

    def callback() -> None:
        calls.append(None)

    add_callback(app, callback)
    try:
        await serve_and_shut_down(served)
        await asyncio.to_thread(shut_down_outside_a_loop)
    finally:
        remove_callback(app, callback)
    return len(calls)


@pytest.mark.asyncio
async def test_shutdown_of_apps_server_calls_back() -> None:
    app = FastAPI()
    for served in (app, wrapped(app), mounted(app)):
        assert await count_callbacks(app, served) == 1


@pytest.mark.asyncio
async def test_shutdown_of_another_server_does_not_call_back() -> None:
    app, other = FastAPI(), FastAPI()
    for served in (other, wrapped(other), mounted(other), metrics):
        assert await count_callbacks(app, served) == 0
