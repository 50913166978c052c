"""The example script of ``examples/`` on a real SGLang."""

from __future__ import annotations

from typing import Final

from real import ROOT
from sglang_server import requires_sglang, serve

pytestmark = requires_sglang

SCRIPT: Final = ROOT / "examples" / "sglang_completion"


def test_script_calls_engine() -> None:
    with serve(env={"SAGEMAKER_MODEL_PATH": str(SCRIPT)}, lora=False) as server:
        body = {"model": "tiny", "prompt": "hello", "max_tokens": 4, "temperature": 0}
        answer = server.client.post("/invocations", json=body)
        expected = server.client.post("/v1/completions", json=body)
        assert answer.json()["choices"] == expected.json()["choices"]
        body["prompt"] = "hello " * 200
        refused = server.client.post("/invocations", json=body)
        assert refused.status_code == 400
        assert "1,000 characters" in refused.text
