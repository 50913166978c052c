"""A container whose ``/invocations`` does what a request's field ``do`` says.

Its port is SAGEMAKER_BIND_TO_PORT. It waits for files in the folder FOLDER, and leaves
some there.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from model_hosting_container_standards import sagemaker

app = FastAPI()
folder = Path(os.environ["FOLDER"])


class Load(BaseModel):
    name: str
    src: str


class Unload(BaseModel):
    name: str


@sagemaker.register_load_adapter_handler({"name": "body.name", "src": "body.src"})
async def load(request: Load, raw_request: Request) -> Response:
    """Fail once for "restarts" and always for "broken", die of "kills"; note calls."""
    calls = folder / f"load-{request.name}"
    earlier = calls.read_text() if calls.exists() else ""
    calls.write_text(f"{earlier}{raw_request.url.query}\n")
    if request.name == "kills":
        os.kill(os.getpid(), signal.SIGKILL)
    if request.name == "restarts" and not earlier:
        return Response("restarting", 503)
    if request.name == "broken":
        return Response("rank 64 is above 16", 400)
    return Response(f"Adapter {request.name} registered")


@sagemaker.register_unload_adapter_handler({"name": "path_params.adapter_name"})
async def unload(request: Unload, raw_request: Request) -> None: ...


@sagemaker.register_ping_handler
async def ping() -> Response:
    """Answer with the status in the file "ping", or not while it says "hangs"."""
    while (status := ping_state()) == "hangs":  # noqa: ASYNC110 - a file.
        await asyncio.sleep(0.05)
    return Response(status_code=int(status))


def ping_state() -> str:
    state = folder / "ping"
    return state.read_text() if state.exists() else "200"


@sagemaker.register_invocation_handler
async def invocations(request: Request) -> Response:
    raw = await request.body()
    try:
        document = json.loads(raw)
        action = ACTIONS[document["do"]]
    except (ValueError, KeyError, TypeError):
        return echo(request, raw)
    response: Response = await action(document)
    return response


def echo(request: Request, raw: bytes) -> Response:
    """Return body and type as they came, and the headers in one of SageMaker's."""
    headers = {
        "X-Amzn-SageMaker-Custom-Attributes": json.dumps([*request.headers.items()])
    }
    return Response(
        raw, headers=headers, media_type=request.headers.get("content-type")
    )


async def respond(document: dict[str, Any]) -> Response:
    body = document.get("body", "x" * document.get("length", 0))
    return Response(body, document.get("status", 200), media_type="text/plain")


async def wait(document: dict[str, Any]) -> Response:
    await released(document["name"])
    return JSONResponse("released")


async def die(_document: dict[str, Any]) -> Response:
    os.kill(os.getpid(), signal.SIGKILL)
    return Response()


async def stream(document: dict[str, Any]) -> Response:
    return StreamingResponse(chunks(document), media_type="text/event-stream")


async def chunks(document: dict[str, Any]) -> AsyncIterator[bytes]:
    """Yield "first", then do what "then" says, then yield "last"."""
    yield b"data: first\n\n"
    match document.get("then"):
        case "wait":
            await released(document["name"])
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
    yield b"data: last\n\n"


async def released(name: str) -> None:
    """Touch NAME-waiting, and wait for NAME-released; else touch NAME-cancelled."""
    (folder / f"{name}-waiting").touch()
    try:
        while not (folder / f"{name}-released").exists():  # noqa: ASYNC110 - a file.
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        (folder / f"{name}-cancelled").touch()
        raise


ACTIONS = {"respond": respond, "wait": wait, "die": die, "stream": stream}

if __name__ == "__main__":
    sagemaker.bootstrap(app)
    uvicorn.run(app, port=int(os.environ["SAGEMAKER_BIND_TO_PORT"]), log_level="error")
