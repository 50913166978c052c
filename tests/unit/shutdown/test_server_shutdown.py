"""Whose end an app hears of, where a loop has several servers."""

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
    """Middleware that a program puts around an app by itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


async def serve_and_end(app: Any) -> None:
    config = uvicorn.Config(app, port=0, lifespan="off", log_level="warning")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    await server.shutdown()


def end_outside_of_a_loop() -> None:
    """Make the coroutine of a server's end where no loop runs, as programs may."""
    uvicorn.Server(uvicorn.Config(FastAPI())).shutdown().close()


def wrapped(app: FastAPI) -> Any:
    return Wrapper(Wrapper(app))


def mounted(app: FastAPI) -> Any:
    outer = FastAPI()
    outer.mount("/inner", Wrapper(app))
    return outer


async def metrics(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """An app of another kind."""


async def ends_heard(app: FastAPI, served: Any) -> int:
    calls: list[None] = []

    def callback() -> None:
        calls.append(None)

    add_callback(app, callback)
    try:
        await serve_and_end(served)
        await asyncio.to_thread(end_outside_of_a_loop)
    finally:
        remove_callback(app, callback)
    return len(calls)


@pytest.mark.asyncio
async def test_the_end_of_its_own_server_is_heard() -> None:
    app = FastAPI()
    for served in (app, wrapped(app), mounted(app)):
        assert await ends_heard(app, served) == 1


@pytest.mark.asyncio
async def test_another_server_of_the_loop_ends_by_itself() -> None:
    app, other = FastAPI(), FastAPI()
    for served in (other, wrapped(other), mounted(other), metrics):
        assert await ends_heard(app, served) == 0
