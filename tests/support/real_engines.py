"""What tests of real engines share, on a CPU and on a GPU."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from metrics_page import scrape
from promises.engines import Load
from servers import Server

#: Makes the tiny model and adapters for any model.
TOOL: Final = Path(__file__).parents[2] / "tools" / "tiny_model.py"

#: The routes of the requests whose load is read.
ROUTES: Final = ("/invocations", "/v1/completions")


def write_adapter(model: str, folder: Path, text: str) -> str:
    """Write or replace an adapter of a model, and return its folder."""
    with tempfile.TemporaryDirectory() as made:
        # The name of the folder is the seed of the weights.
        written = Path(made, text)
        subprocess.run([sys.executable, TOOL, model, "--lora", written], check=True)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.move(written, folder)
    return str(folder)


def long_completion(model: str) -> dict[str, Any]:
    many = {"max_tokens": 1500, "ignore_eos": True, "temperature": 0}
    return {"model": model, "prompt": "hello", **many}


def sglang_load(server: Server) -> Load:
    """Return the load of an SGLang with ``--enable-metrics``.

    Its gauge of running requests is some steps behind, and its counter of requests has
    those of its warm-up, which other workers may still send, and the aborted ones.
    """
    loads = server.client.get("/v1/loads").raise_for_status().json()["loads"]
    page = scrape(server.client)
    ended = sum(page.value("sagemaker_requests_total", route=path) for path in ROUTES)
    completed = ended - page.value("sglang:num_aborted_requests_total")
    return Load(sum(load["num_running_reqs"] for load in loads), round(completed))
