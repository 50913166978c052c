"""A container that keeps the whole contract, for uvicorn; ENGINE is a folder.

``faulty`` is the same with a fault of :mod:`container_faults`, which ``POST
/fault/NAME`` chooses.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi import FastAPI, HTTPException, WebSocket
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel

import model_hosting_container_standards.engines.registry as engine_registry
from adapter_engine import AdapterEngine, Published, Running
from container_faults import FAULTS
from faulty_app import Faulty
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.engines.runtime import EngineRuntime
from model_hosting_container_standards.exceptions import AdapterError

#: Seconds between two events of a stream.
PACE_S: Final = float(os.environ.get("PACE_S", "0.002"))
engine = AdapterEngine(Path(os.environ["ENGINE"]), slots=64)


class Completion(BaseModel):
    model: str | None = None
    prompt: str | None = None
    messages: list[dict[str, str]] | None = None
    max_tokens: int = 8
    stream: bool = False


class Container(Published):
    def inference_paths(self, app: FastAPI) -> Collection[str]:
        return {"/v1/completions", "/v1/chat/completions"}

    def start(self, app: FastAPI) -> EngineRuntime:
        return Running(app, self._backend)


app = FastAPI()


@app.get("/ping")
async def ping() -> Response:
    return Response()


@app.get("/v1/models")
async def models() -> dict[str, Any]:
    return {"object": "list", "data": [{"id": "base", "object": "model"}]}


@app.post("/v1/completions")
@app.post("/v1/chat/completions")
@app.post("/invocations")
async def complete(request: Completion) -> Response:
    if request.prompt is None and request.messages is None:
        raise HTTPException(400, "Give a prompt or messages.")
    model = request.model or "base"
    try:
        text = await engine.infer(model)
    except AdapterError as error:
        raise HTTPException(error.status_code, str(error)) from None
    if request.stream:
        events = stream(model, text, request.max_tokens)
        return StreamingResponse(events, media_type="text/event-stream")
    return JSONResponse({"model": model, "choices": [{"index": 0, "text": text}]})


async def stream(model: str, text: str, count: int) -> AsyncIterator[str]:
    for _ in range(count):
        event = {"model": model, "choices": [{"index": 0, "text": text}]}
        yield f"data: {json.dumps(event)}\n\n"
        await asyncio.sleep(PACE_S)
    yield "data: [DONE]\n\n"


@sagemaker.stream
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


_container = Container(app, engine)
pytest.MonkeyPatch().setattr(
    engine_registry, "installed_engines", lambda: iter([_container])
)
sagemaker.bootstrap(app)
faulty = Faulty(app, FAULTS)
