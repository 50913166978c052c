"""Which apps are ingresses of Ray Serve LLM; Ray itself is not needed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from fastapi import FastAPI

from mhcs.ray import engine

RAYS = "ray.llm._internal.serve.core.ingress.ingress"


def app_with(module: str) -> FastAPI:
    app = FastAPI()

    async def completions() -> None: ...

    completions.__module__ = module
    app.post("/v1/completions")(completions)
    return app


@pytest.mark.parametrize(
    ("module", "owned"),
    [
        (RAYS, True),
        ("mhcs.ray.ingress", True),
        ("vllm.entrypoints.openai.api_server", False),
        ("rays.llm", False),
    ],
)
def test_apps_with_endpoints_of_ray_are_owned(module: str, owned: bool) -> None:
    assert engine.owns(app_with(module)) is owned


def test_app_without_routes_is_not_owned() -> None:
    assert not engine.owns(FastAPI())


def test_engine_is_imported_without_ray() -> None:
    code = "import sys, mhcs.ray; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="'mhcs.ray' has no attribute 'Other'"):
        __import__("mhcs.ray", fromlist=["Other"]).Other  # noqa: B018
