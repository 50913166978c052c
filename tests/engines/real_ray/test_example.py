"""The example's configurations are valid in Ray's own schemas."""

from __future__ import annotations

import json
import subprocess
from typing import Any, Final

import pytest
import yaml

from ray_server import PYTHON, requires_ray, serve
from real import ROOT

pytestmark = requires_ray

EXAMPLE: Final = ROOT / "examples" / "ray_serve"
SERVICES: Final = ("rayservice.yaml", "rayservice-hyperpod.yaml")
#: Prints the classes that Ray's schema of the app's arguments finds by their names.
CODE: Final = """
import json, sys
from ray.llm._internal.serve.core.ingress.builder import LLMServingArgs
from ray.serve.schema import ServeDeploySchema
schema = ServeDeploySchema.model_validate(json.load(sys.stdin))
[app] = schema.applications
args = LLMServingArgs.model_validate(app.args)
[model] = args.llm_configs
print(args.ingress_cls_config.ingress_cls.__name__, model.server_cls.__name__)
"""


def configurations() -> dict[str, Any]:
    return {
        "serve.yaml": yaml.safe_load((EXAMPLE / "serve.yaml").read_text()),
        **{name: yaml.safe_load(serve_config(name)) for name in SERVICES},
    }


def serve_config(name: str) -> str:
    service = yaml.safe_load((EXAMPLE / name).read_text())
    text: str = service["spec"]["serveConfigV2"]
    return text


@pytest.mark.parametrize("name", ["serve.yaml", *SERVICES])
def test_serve_configuration_is_valid(name: str) -> None:
    end = subprocess.run(
        [PYTHON, "-c", CODE],
        input=json.dumps(configurations()[name]),
        capture_output=True,
        check=False,
        text=True,
    )
    assert end.returncode == 0, end.stderr
    assert end.stdout.splitlines()[-1] == "SageMakerIngress SageMakerLLMServer"


def test_configurations_have_the_same_application() -> None:
    found = configurations()
    ours = found["serve.yaml"]["applications"]
    assert found["rayservice.yaml"]["applications"] == ours
    [model] = ours[0]["args"]["llm_configs"]
    model["model_loading_config"]["model_source"] = "/models/my-model"
    assert found["rayservice-hyperpod.yaml"]["applications"] == ours


def test_script_answers() -> None:
    """It limits what any request may generate."""
    env = {"SAGEMAKER_MODEL_PATH": str(EXAMPLE)}
    body = {"model": "tiny", "prompt": "hello", "ignore_eos": True}
    with serve(env=env, lora=False) as server:
        answer = server.client.post("/invocations", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["completion_tokens"] == 16
