"""Serves the bare app and the decorated one with uvicorn, each on its own port.

Runs in the environment of a side. Prints the two ports as JSON and serves until its
standard input is closed.
"""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import sys
from importlib import import_module

import uvicorn
from fastapi import FastAPI

import application


async def serve() -> None:
    apps = (application.build_bare(), application.build_standard())
    sockets = [listen(), listen()]
    servers = [make_server(app) for app in apps]
    gc.collect()
    gc.freeze()
    running = [
        asyncio.create_task(server.serve([listener]))
        for server, listener in zip(servers, sockets, strict=True)
    ]
    print(json.dumps([listener.getsockname()[1] for listener in sockets]), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*running)


def listen() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    # Clients may connect before uvicorn is ready: they wait in the queue.
    listener.listen()
    return listener


def make_server(app: FastAPI) -> uvicorn.Server:
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
    return uvicorn.Server(config)


if __name__ == "__main__":
    # The loop that vLLM uses; it comes with uvicorn[standard], which the sides have.
    import_module("uvloop").run(serve())
