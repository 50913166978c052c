"""The examples' Dockerfiles pass the linter."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

import pytest

from servers import run_until_exit
from venvs import ROOT

DOCKERFILES: Final = sorted((ROOT / "examples").rglob("*Dockerfile*"))
HADOLINT: Final = shutil.which("hadolint", path=str(Path(sys.executable).parent))


@pytest.mark.skipif(HADOLINT is None, reason="hadolint does not run on this machine")
@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_linter_reports_nothing(file: Path) -> None:
    end = run_until_exit([str(HADOLINT), "--no-color", file])
    assert (end.status, end.stdout) == (0, ""), end.stdout + end.stderr


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
@pytest.mark.parametrize(
    "capability", ["accept-bind-to-port", "bidirectional-streaming"]
)
def test_image_names_its_capabilities(file: Path, capability: str) -> None:
    _, _, image = file.read_text().rpartition("\nFROM ")
    label = f"LABEL com.amazonaws.sagemaker.capabilities.{capability}=true"
    assert label in image.splitlines()


def test_every_engine_has_a_dockerfile() -> None:
    engines = {file.parent.name for file in DOCKERFILES}
    assert engines == {"vllm", "tensorrt_llm", "sglang"}
