"""The example's configurations are valid in Ray's own schemas."""

from __future__ import annotations

import json
import subprocess
from typing import Any, Final

import pytest
import yaml

from ray_server import PYTHON, requires_ray
from real import ROOT

pytestmark = requires_ray

EXAMPLE: Final = ROOT / "examples" / "ray_serve"
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
    service = yaml.safe_load((EXAMPLE / "rayservice.yaml").read_text())
    return {
        "serve.yaml": yaml.safe_load((EXAMPLE / "serve.yaml").read_text()),
        "rayservice.yaml": yaml.safe_load(service["spec"]["serveConfigV2"]),
    }


@pytest.mark.parametrize("name", ["serve.yaml", "rayservice.yaml"])
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


def test_both_configurations_have_the_same_application() -> None:
    ours, kubernetes = (each["applications"] for each in configurations().values())
    assert ours == kubernetes
