"""The documentation shows the files of ``examples/``, and they do what it says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from model_hosting_container_standards import sagemaker
from trtllm import trtllm

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize(
    ("file", "page"),
    [
        ("minimal/model.py", "README.md"),
        ("minimal/model.py", "docs/how-to/handlers.md"),
        ("minimal/model.py", "docs/tutorials/first-model-py.md"),
        ("trtllm_completion/model.py", "docs/how-to/handlers.md"),
        ("sglang_completion/model.py", "docs/how-to/handlers.md"),
        ("fastapi_server/server.py", "docs/how-to/own-server.md"),
        ("middleware/model.py", "docs/how-to/middleware.md"),
        ("sessions/model.py", "docs/how-to/sessions.md"),
        ("containers/vllm/Dockerfile", "docs/how-to/build-an-image.md"),
        ("ray_serve/model.py", "docs/how-to/ray.md"),
        ("ray_serve/rayservice.yaml", "docs/how-to/ray.md"),
        ("ray_serve/serve.yaml", "docs/how-to/ray.md"),
    ],
)
def test_page_shows_example_file(file: str, page: str) -> None:
    assert (EXAMPLES / file).read_text() in (ROOT / page).read_text()


def test_minimal_script_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_MODEL_PATH", str(EXAMPLES / "minimal"))
    client = TestClient(sagemaker.bootstrap(FastAPI()))
    assert client.get("/ping").status_code == 200
    answer = client.post("/invocations", json={"a": 1})
    assert answer.json() == {"you_sent": {"a": 1}}


def test_custom_server_answers() -> None:
    app = runpy.run_path(str(EXAMPLES / "fastapi_server" / "server.py"))["app"]
    client = TestClient(app)
    assert client.get("/ping").json() == "up"
    assert client.post("/invocations", json={"a": 1}).json() == {"a": 1}
    assert client.post("/invocations", content=b"{").status_code == 422


@pytest.mark.parametrize("release", ["trtllm_0_21", "trtllm_1_3"])
def test_tensorrt_llm_script_calls_engine(release: str) -> None:
    env = {"SAGEMAKER_MODEL_PATH": str(EXAMPLES / "trtllm_completion")}
    with trtllm(release, env=env) as server:
        body = {"model": "standin", "prompt": "hello"}
        answer = server.client.post("/invocations", json=body)
        assert answer.json()["choices"][0]["text"] == "base: hello"
        body["prompt"] = "hello " * 200
        refused = server.client.post("/invocations", json=body)
        assert (refused.status_code, refused.json()["detail"][:8]) == (400, "A prompt")
