"""An environment of Ray is layered on that of vLLM, and kept."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pytest

from servers import Exit, run_until_exit
from venvs import ROOT

VERSION: Final = "2.60.0"


def build(folder: Path, base: Path) -> Exit:
    """Build an environment of the release in the folder, layered on a base."""
    script = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "tools")!r})
from ray_cpu import environment
environment.base_packages = lambda: Path({str(base)!r})
environment.build({VERSION!r}, Path({str(folder)!r}))
"""
    return run_until_exit([sys.executable, "-c", script])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    base = tmp_path / "base"
    (base / "vllm").mkdir(parents=True)
    return base


def test_environment_with_the_release_is_kept(tmp_path: Path, base: Path) -> None:
    folder = tmp_path / "environment"
    folder.mkdir()
    (folder / "ray-version.txt").write_text(VERSION)

    assert build(folder, base) == (0, f"Ray {VERSION} is ready in {folder}, 0 s\n", "")
    assert [path.name for path in folder.iterdir()] == ["ray-version.txt"]


def test_base_without_vllm_is_refused(tmp_path: Path) -> None:
    end = build(tmp_path / "environment", tmp_path)

    assert end.status == 1
    assert "run make install" in end.stderr
