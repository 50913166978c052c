"""A server with adapters, for uvicorn; ENGINE is its engine's folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from adapter_engine import AdapterEngine, app_of

engine = AdapterEngine(Path(os.environ["ENGINE"]))
own = FastAPI()


@own.post("/v1/completions")
async def complete(body: dict[str, str]) -> dict[str, Any]:
    model = body.get("model") or "base"
    return {"model": model, "text": await engine.infer(model)}


app = app_of(engine, pytest.MonkeyPatch(), own)
