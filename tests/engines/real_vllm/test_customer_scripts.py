"""A customer's ``model.py`` on a real vLLM: sources and signatures of handlers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from real import API_SERVERS, COMPLETION, PROCESSES, requires_vllm, serve, serve_module
from servers import Server, polling

pytestmark = [*requires_vllm, pytest.mark.slow]

Start = Callable[..., Server]

SIBLING = '''
from __future__ import annotations
import dataclasses, pickle
from typing import ClassVar
import pydantic

@dataclasses.dataclass
class Settings:
    """A dataclass with postponed annotations, which needs its module in sys.modules."""
    name: str
    tags: ClassVar[list[str]] = ["a"]
    sizes: list[int] = dataclasses.field(default_factory=list)

class Part(pydantic.BaseModel):
    text: str

class Document(pydantic.BaseModel):
    parts: list[Part]
    first: Part | None = None
'''

BASE = """
from __future__ import annotations
import pickle
from typing import Any
import pydantic
from fastapi import Request
from fastapi.responses import JSONResponse, StreamingResponse
from customers_sibling import Document, Settings

class Own(pydantic.BaseModel):
    document: Document
    number: int = 0

settings = pickle.loads(pickle.dumps(Settings("from the script", sizes=[1])))
"""

# Each script also defines handlers of lower priority, which must not be used.
SHORT_NAMES = """
import logging

def state():
    return [
        [x.name, x.level, x.propagate, [[str(type(h)), h.level] for h in x.handlers]]
        for x in (logging.getLogger(), logging.getLogger("vllm"))
    ]

# The script is loaded in vLLM's build_app, before any other step of ours.
before = state()

def ping():
    content = {"ping": "short name", "before": before, "after": state()}
    return JSONResponse(content, status_code=202)

async def invoke(request: Request):
    async def words():
        for number in range(5):
            yield f"word {number}\\n"
    return StreamingResponse(words(), media_type="text/plain")
"""
EXPLICIT_NAMES = (
    SHORT_NAMES
    + """
def custom_sagemaker_ping_handler(request):
    return JSONResponse({"ping": "explicit name"}, status_code=203)

async def custom_sagemaker_invocation_handler(own: Own, raw_request: Request) -> Own:
    own.number += len(own.document.parts) + len((await raw_request.json())["document"])
    return own
"""
)
DECORATED = (
    EXPLICIT_NAMES
    + """
import threading
from model_hosting_container_standards import sagemaker
loop_thread = threading.get_ident()

@sagemaker.ping
async def decorated_ping():
    return JSONResponse({"ping": "decorated"}, status_code=206)

@sagemaker.invoke
def decorated_invoke(raw_request: Request) -> dict[str, Any]:
    return {"settings": settings.name, "off_loop": threading.get_ident() != loop_thread}
"""
)
NAMED = (
    DECORATED
    + """
async def named_ping(anything):
    return JSONResponse({"ping": anything.url.path}, status_code=207)

async def named_invoke(raw_request):
    return {"served": raw_request.app.state.openai_serving_models is not None,
            "prompt": (await raw_request.json())["prompt"]}
"""
)
NAMES = {
    "CUSTOM_FASTAPI_PING_HANDLER": "model:named_ping",
    "CUSTOM_FASTAPI_INVOCATION_HANDLER": "model.py:named_invoke",
}


def start(
    folder: Path,
    script: str,
    env: Mapping[str, str] | None = None,
    start_server: Start = serve,
    arguments: Sequence[str] = (),
) -> Server:
    (folder / "customers_sibling.py").write_text(SIBLING)
    (folder / "model.py").write_text(BASE + script)
    return start_server(
        *arguments, env={"SAGEMAKER_MODEL_PATH": str(folder), **(env or {})}
    )


def ping(server: Server) -> tuple[int, Any]:
    answer = server.client.get("/ping")
    return answer.status_code, answer.json()["ping"]


def test_environment_overrides_decorators_with_unannotated_handlers(
    tmp_path: Path,
) -> None:
    with start(tmp_path, NAMED, NAMES) as server:
        assert ping(server) == (207, "/ping")
        answer = server.client.post("/invocations", json=COMPLETION)
        assert answer.json() == {"served": True, "prompt": "hello"}


def test_decorators_override_explicit_names_with_a_sync_handler(tmp_path: Path) -> None:
    with start(tmp_path, DECORATED) as server:
        assert ping(server) == (206, "decorated")
        audio = {"content-type": "audio/wav"}
        answer = server.client.post("/invocations", content=b"RIFF", headers=audio)
        assert answer.json() == {"settings": "from the script", "off_loop": True}


def test_explicit_names_override_short_names_with_a_pydantic_body(
    tmp_path: Path,
) -> None:
    # Started as a module: python -m.
    with start(tmp_path, EXPLICIT_NAMES, start_server=serve_module) as server:
        assert server.client.get("/openapi.json").json()["openapi"]
        assert ping(server) == (203, "explicit name")
        body = {"document": {"parts": [{"text": "a"}, {"text": "b"}]}, "number": 1}
        answer = server.client.post("/invocations", json=body)
        assert answer.json()["number"] == 4
        assert answer.json()["document"]["first"] is None
        wrong = server.client.post("/invocations", json={"document": {"parts": 1}})
        assert wrong.status_code in (400, 422)
        assert "parts" in wrong.text


@pytest.fixture(scope="module")
def short_names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of two processes if possible, whose script has only short names."""
    folder = tmp_path_factory.mktemp("short-names")
    with start(folder, SHORT_NAMES, arguments=API_SERVERS) as server:
        yield server


def test_short_names_override_engine_with_a_stream(short_names: Server) -> None:
    assert ping(short_names) == (202, "short name")
    answer = short_names.client.post("/invocations", json={})
    assert answer.text == "".join(f"word {number}\n" for number in range(5))


def test_every_process_loads_script_once_and_keeps_logging(
    short_names: Server,
) -> None:
    for _ in range(20):
        # On separate connections, so that both processes answer some.
        answer = short_names.client.get("/ping", headers={"connection": "close"}).json()
        assert answer["before"] == answer["after"]
    folder = short_names.env["SAGEMAKER_MODEL_PATH"]
    answered = f"/invocations is answered by model.invoke ({folder}"
    # One process may answer before the other has loaded the script.
    for _ in polling(short_names.timeout):
        if short_names.output().count(answered) >= PROCESSES:
            break
    assert short_names.output().count(answered) == PROCESSES


def test_unusable_handler_prevents_startup(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("def invoke(): raise SystemError\n")
    env = {
        "SAGEMAKER_MODEL_PATH": str(tmp_path),
        "CUSTOM_FASTAPI_INVOCATION_HANDLER": "model.py:invok",
    }
    server = serve(env=env)
    try:
        server.start()
        assert server.wait(server.timeout) != 0
        assert "HandlerNotFoundError" in server.stderr()
        assert "has no 'invok'; did you mean 'invoke'?" in server.stderr()
    finally:
        server.close()
