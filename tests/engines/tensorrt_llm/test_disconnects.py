"""TensorRT-LLM aborts requests on disconnects, behind every customisation."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from adapter_engine import write_adapter
from customised import KINDS
from invocations_app import SESSION
from promises.conftest import StandIn
from promises.requests import ADAPTER
from promises.test_disconnects import check_disconnect
from session_client import begin

RELEASE: Final = "trtllm_1_2"

#: A customer's script that registers the customisation that KIND names.
SCRIPT: Final = """
import os

from customised import DECORATORS, KINDS

for place, registered in KINDS[os.environ["KIND"]].items():
    DECORATORS[place](registered)
"""

#: A customer's script whose handler calls the engine.
HANDLER: Final = """
from tensorrt_llm.serve.openai_protocol import CompletionRequest

from model_hosting_container_standards.sagemaker import register_invocation_handler


@register_invocation_handler
async def invoke(request):
    asked = CompletionRequest(**await request.json())
    return await request.app.state.openai_server.openai_completion(asked, request)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_engine_aborts_request(kind: str, model_folder: Path) -> None:
    (model_folder / "model.py").write_text(SCRIPT)
    env = {
        "KIND": kind,
        "SAGEMAKER_MODEL_PATH": str(model_folder),
        "SAGEMAKER_ENABLE_STATEFUL_SESSIONS": "true",
    }
    engine = StandIn(RELEASE)
    with engine.serve(env=env, lora=True) as server:
        for stream in (False, True):
            check_disconnect(server, engine, "/invocations", stream=stream)


def test_engine_aborts_request_with_session_and_adapter(
    tmp_path: Path,
) -> None:
    env = {"MHCS_AUTO": "1", "SAGEMAKER_ENABLE_STATEFUL_SESSIONS": "true"}
    engine = StandIn(RELEASE)
    with engine.serve(env=env, lora=True) as server:
        body = {"name": "felix", "src": write_adapter(tmp_path / "cats", "cats")}
        server.client.post("/adapters", json=body).raise_for_status()
        headers = {SESSION: begin(server.client), ADAPTER: "felix"}
        for stream in (False, True):
            check_disconnect(
                server, engine, "/invocations", stream=stream, headers=headers
            )


@pytest.mark.parametrize("release", ["trtllm_1_2", "trtllm_main"])
def test_engine_aborts_request_of_customers_handler(
    release: str, model_folder: Path
) -> None:
    (model_folder / "model.py").write_text(HANDLER)
    engine = StandIn(release)
    with engine.serve(env={"SAGEMAKER_MODEL_PATH": str(model_folder)}) as server:
        check_disconnect(server, engine, "/invocations")
