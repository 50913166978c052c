"""Creates the environment of a release: Ray Serve and what its LLM parts import."""

import time
from pathlib import Path
from typing import Final

from layered_environment import (
    ROOT,
    base_line,
    base_packages,
    create,
    distribution_names,
    install_excluding,
    install_into,
    require_vllm,
    site_packages,
)
from uv_commands import run_probe, say

#: Written last, with the release.
MARKER: Final = "ray-version.txt"
#: Those of the extra `llm` that are imported on a CPU, without the pinned vLLM.
REQUIREMENTS: Final = ("async-timeout", "jsonref", "ninja", "pyarrow")
#: Imports what an ingress and a model replica import, and this package.
PROBE: Final = (
    "import mhcs;"
    "from ray.serve.llm import LLMConfig, build_openai_app;"
    "from ray.serve.llm.ingress import OpenAiIngress;"
    "import ray.llm._internal.serve.engines.vllm.vllm_engine"
)


def build(version: str, folder: Path) -> None:
    """Create an environment in ``folder`` in which a release of Ray serves.

    If it is there, it is kept.
    """
    started = time.monotonic()
    require_vllm(base_packages(), "Ray")
    marker = folder / MARKER
    if not marker.exists() or marker.read_text() != version:
        install(version, folder)
        marker.write_text(version)
    say(f"Ray {version} is ready in {folder}, {time.monotonic() - started:.0f} s")


def install(version: str, folder: Path) -> None:
    say(f"installing Ray {version}")
    base, python = base_packages(), folder / "bin" / "python"
    create(folder)
    packages = (f"ray[serve]=={version}", *REQUIREMENTS)
    install_excluding(distribution_names(base), python, *packages)
    # This package too, for its commands.
    install_into(python, "--no-deps", "--editable", str(ROOT))
    (site_packages(folder) / "ray_cpu.pth").write_text(base_line(base))
    probe(version, python)


def probe(version: str, python: Path) -> None:
    run_probe(
        python,
        PROBE,
        f"Ray {version} cannot be imported with the installed vLLM: it needs another "
        "package in REQUIREMENTS of tools/ray_cpu/environment.py, or another vLLM.",
    )
