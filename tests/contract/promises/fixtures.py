"""Servers that tests share, because a real engine starts slowly.

The ``conftest.py`` that collects the tests defines the fixture ``engine``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import Server

from .engines import EngineUnderTest

#: A script for any engine: handlers, middleware and formatters. Middleware changes
#: requests only if their headers ask for it.
SCRIPT = '''
import json

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.common.fastapi.middleware import (
    custom_middleware,
    input_formatter,
    output_formatter,
)
from model_hosting_container_standards.sagemaker.sessions.manager import (
    get_session_manager,
)


@sagemaker.ping
def ping():
    return Response(status_code=201)


@sagemaker.invoke
async def invoke(request: Request):
    """Count the requests of a session."""
    session_id = request.headers.get("X-Amzn-SageMaker-Session-Id")
    count = 0
    if session_id:
        session = get_session_manager().get_session(session_id)
        count = session.get("count", 0) + 1
        session.put("count", count)
    body = await request.body()
    return {"bytes": len(body), "count": count}


@custom_middleware("throttle")
async def throttle(request, call_next):
    if request.headers.get("x-too-much"):
        return JSONResponse({"error": "too much"}, 429)
    return await call_next(request)


@custom_middleware("pre_post_process")
async def add_header(request, call_next):
    response = await call_next(request)
    response.headers["x-noted"] = "yes"
    return response


@input_formatter
async def accept_text(request):
    if request.headers.get("content-type", "").startswith("text/plain"):
        prompt = (await request.body()).decode()
        model = request.headers["x-model"]
        return {"model": model, "prompt": prompt, "max_tokens": 4, "temperature": 0}
    return None


@output_formatter
async def sign(response):
    response.headers["x-signed"] = "yes"
'''


@pytest.fixture(scope="session")
def server(engine: EngineUnderTest) -> Iterator[Server]:
    """A server without customer code, with adapters if the engine supports them."""
    with engine.serve(env={"MHCS_AUTO": "1"}, lora=engine.supports_adapters) as server:
        yield server


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a customer's ``model.py``."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "model.py").write_text(SCRIPT)
    return folder


@pytest.fixture(scope="session")
def customised_server(engine: EngineUnderTest, script: Path) -> Iterator[Server]:
    """A server with customer code and sessions, of two processes if possible."""
    env = {
        "SAGEMAKER_MODEL_PATH": str(script),
        "SAGEMAKER_ENABLE_STATEFUL_SESSIONS": "true",
    }
    processes = engine.max_processes
    with engine.serve(env=env, lora=False, processes=processes) as server:
        yield server
