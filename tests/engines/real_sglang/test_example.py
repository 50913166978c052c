"""The example script of ``examples/`` on a real SGLang."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from promises.requests import ask, register, streamed_text, text_of
from real import ROOT
from servers import Server
from sglang_server import RealSGLang, requires_sglang, serve

pytestmark = requires_sglang

SCRIPT: Final = ROOT / "examples" / "sglang_completion"


@pytest.fixture(scope="module")
def example() -> Iterator[Server]:
    with serve(env={"SAGEMAKER_MODEL_PATH": str(SCRIPT)}) as server:
        yield server


def test_script_calls_engine(example: Server) -> None:
    body = {"model": "tiny", "prompt": "hello", "max_tokens": 4, "temperature": 0}
    answer = example.client.post("/invocations", json=body)
    expected = example.client.post("/v1/completions", json=body)
    assert answer.json()["choices"] == expected.json()["choices"]
    body["prompt"] = "hello " * 200
    refused = example.client.post("/invocations", json=body)
    assert refused.status_code == 400
    assert "1,000 characters" in refused.text


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_model_that_the_script_passes_on_is_checked(
    example: Server, engine: RealSGLang, tmp_path: Path, stream: bool
) -> None:
    src = engine.write_adapter(tmp_path / "cats", "cats")
    register(example.client, "cats", src).raise_for_status()
    base, cats = (
        text_of(ask(example.client, engine, "/v1/completions", model=model))
        for model in (engine.model, "cats")
    )
    assert base != cats
    for model, text in ((engine.model, base), ("cats", cats), ("tiny:cats", cats)):
        answer = ask(example.client, engine, model=model, stream=stream)
        assert (
            streamed_text(answer.iter_lines()) if stream else text_of(answer)
        ) == text
    unknown = ask(example.client, engine, model="dogs", stream=stream)
    assert unknown.status_code == 404
    for name in ("'dogs'", engine.model, "cats"):
        assert name in unknown.text
    example.client.delete("/adapters/cats").raise_for_status()
    assert ask(example.client, engine, model="cats", stream=stream).status_code == 404
