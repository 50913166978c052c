"""``mhcs check`` on containers that do not have this package."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from check_command import Checked, run_check
from servers import Server

UVICORN: Final = (sys.executable, "-m", "uvicorn", "--log-level=error")
HEAD: Final = """
import json
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

app = FastAPI()

@app.get("/ping")
async def ping():
    return {}
"""
#: What TGI and LMI take and send.
GENERATION: Final = """
class Parameters(BaseModel):
    max_new_tokens: int = 20

class Generation(BaseModel):
    inputs: str
    parameters: Parameters = Parameters()
    stream: bool = False

def tokens(request):
    for number in range(request.parameters.max_new_tokens):
        yield {"index": number, "token": {"id": number, "text": "a"}}
"""
TGI: Final = """
@app.post("/invocations")
async def invocations(request: Generation):
    if not request.stream:
        return [{"generated_text": "a" * request.parameters.max_new_tokens}]
    events = (f"data:{json.dumps(token)}\\n\\n" for token in tokens(request))
    return StreamingResponse(events, media_type="text/event-stream")
"""
LMI: Final = """
@app.post("/invocations")
async def invocations(request: Generation):
    if not request.stream:
        return {"generated_text": "a" * request.parameters.max_new_tokens}
    lines = (json.dumps(token) + "\\n" for token in tokens(request))
    return StreamingResponse(lines, media_type="application/jsonlines")
"""
EMBEDDINGS: Final = """
class Embedding(BaseModel):
    input: str

@app.post("/invocations")
async def invocations(request: Embedding):
    return {"data": [{"embedding": [0.5]}]}
"""
CHAT: Final = """
class Chat(BaseModel):
    model: str | None = None
    messages: list[dict[str, str]]
    max_tokens: int = 8

@app.get("/v1/models")
async def models():
    return {"data": [{"id": "adapter", "parent": "base"}, {"id": "base"}]}

@app.post("/invocations")
async def invocations(request: Chat):
    if request.model not in ("base", "", None):
        raise HTTPException(404, f"{request.model!r} is not a model")
    return {"model": "base", "choices": [{"message": {"content": "a"}}]}
"""


LINES: Final = """
@app.post("/invocations")
async def invocations(request: Request):
    body = (await request.body()).decode()
    if request.headers["content-type"] == "application/json":
        return json.loads(body)
    answers = "\\n".join(map(answer, body.splitlines()))
    return Response(answers, media_type="application/jsonlines")

def answer(line):
    try:
        return json.dumps({"got": json.loads(line)})
    except ValueError:
        return json.dumps({"error": "not JSON"})
"""


def check(folder: Path, *parts: str, options: Sequence[str] = ()) -> Checked:
    (folder / "other.py").write_text("\n".join([HEAD, *parts]))
    command = [*UVICORN, f"--app-dir={folder}", "other:app"]
    with Server(command, ready_path="/ping") as server:
        return run_check(server.url, *options)


@pytest.mark.parametrize("container", [TGI, LMI], ids=["TGI", "LMI"])
def test_generation_is_asked_by_inputs(container: str, tmp_path: Path) -> None:
    checked = check(tmp_path, GENERATION, container)
    assert checked.named("fail") == [], checked.document
    finding = checked.results["invocations-answers"]["finding"]
    assert finding.startswith("inputs: 200")
    streams = {name for name in checked.results if name.startswith("streams-")}
    assert streams <= {*checked.named("pass")}


def test_embeddings_are_asked_by_input(tmp_path: Path) -> None:
    checked = check(tmp_path, EMBEDDINGS)
    assert checked.named("fail") == [], checked.document
    finding = checked.results["invocations-answers"]["finding"]
    assert finding.startswith("input: 200")


def test_chats_are_asked_by_messages_of_the_base_model(tmp_path: Path) -> None:
    checked = check(tmp_path, CHAT)
    assert checked.named("fail") == [], checked.document
    answers = checked.results["invocations-answers"]
    assert answers["finding"].startswith("messages: 200")
    assert '"model": "base"' in answers["exchanges"][-1]["sent"]
    assert "models-unknown" in checked.named("pass")


def test_body_of_several_lines_is_one_line_of_a_batch(tmp_path: Path) -> None:
    options = ["--only=batch", '--body={\n  "rows": [1, 2]\n}\n']
    checked = check(tmp_path, LINES, options=options)
    assert checked.named("pass") == ["batch-lines", "batch-errors"], checked.document
