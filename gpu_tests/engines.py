"""The real engines of this environment: `vllm serve` and `trtllm-serve`."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Final

from promises.engines import Load
from servers import Server

ROOT: Final = Path(__file__).parent.parent
#: The model to serve; None: a tiny one is made.
MODEL: Final = os.environ.get("MODEL") or None
TINY_MODEL: Final = ROOT / "build" / "tiny-llama"
TINY_MODEL_TOOL: Final = ROOT / "tools" / "tiny_model.py"
#: Includes loading the weights and compiling kernels.
START_TIMEOUT_S: Final = 900.0
MAX_RANK: Final = 8
SLOTS: Final = 4
#: What TensorRT-LLM's server logs when a client has disconnected.
ABORTED: Final = "is disconnected, abort"
#: The share of each server, as several run at the same time.
GPU_MEMORY: Final = 0.15


class RealEngine:
    """The common part of both engines."""

    command: ClassVar[str]
    distribution: ClassVar[str]
    knows_its_models: ClassVar[bool]
    has_pins: ClassVar[bool]
    env: ClassVar[Mapping[str, str]] = {
        "SAGEMAKER_CONTAINER_LOG_LEVEL": "INFO",
        # Not measured here: with coverage, engines start half as fast.
        "COVERAGE_PROCESS_CONFIG": "",
    }

    @property
    def name(self) -> str:
        return f"{self.distribution} {metadata.version(self.distribution)}"

    @property
    def release(self) -> tuple[int, ...]:
        version = metadata.version(self.distribution)
        return tuple(int(number) for number in re.findall(r"\d+", version)[:2])

    def missing(self) -> str | None:
        """Return the reason why the engine cannot run here, if any."""
        try:
            metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return f"{self.distribution} is not installed"
        if not (Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi")):
            return "no NVIDIA GPU is present"
        return None

    def write_adapter(self, folder: Path, text: str) -> str:
        with tempfile.TemporaryDirectory() as made:
            # Its name is the seed of its weights.
            written = Path(made, text)
            _run_tool(model_path(), "--lora", str(written))
            shutil.rmtree(folder, ignore_errors=True)
            shutil.move(written, folder)
        return str(folder)

    def endless(self) -> dict[str, Any]:
        many = {"max_tokens": 1500, "ignore_eos": True, "temperature": 0}
        return {"model": self.model, "prompt": "hello", **many}

    @property
    def model(self) -> str:
        return Path(model_path()).name

    def _start(
        self, *arguments: str, env: Mapping[str, str] | None, port: int | None
    ) -> Server:
        executable = str(Path(sys.executable).with_name(self.command))
        command = [executable, *arguments]
        env = {**self.env, **(env or {})}
        return Server(command, env, timeout=START_TIMEOUT_S, port=port)


class RealVLLM(RealEngine):
    command = "vllm"
    distribution = "vllm"
    has_adapters = True
    knows_its_models = True
    has_pins = True

    @property
    def most_processes(self) -> int:
        return 2 if self.release >= (0, 10) else 1

    def serve(
        self,
        *,
        env: Mapping[str, str] | None = None,
        lora: bool = True,
        processes: int = 1,
        port: int | None = None,
    ) -> Server:
        options = [
            f"--served-model-name={self.model}",
            "--max-model-len=2048",
            f"--gpu-memory-utilization={GPU_MEMORY}",
        ]
        if lora:
            sizes = [f"--max-loras={SLOTS}", f"--max-lora-rank={MAX_RANK}"]
            options += ["--enable-lora", *sizes]
        if processes > 1:
            options.append(f"--api-server-count={processes}")
        return self._start("serve", model_path(), *options, env=env, port=port)

    def load(self, server: Server) -> Load | None:
        metrics = server.client.get("/metrics").text
        running = _metric(metrics, r"vllm:num_requests_running")
        completed = _metric(metrics, r"vllm:request_success_total")
        return Load(running, completed)


class RealTensorRTLLM(RealEngine):
    command = "trtllm-serve"
    distribution = "tensorrt-llm"
    knows_its_models = False
    has_pins = False

    @property
    def has_adapters(self) -> bool:
        return self.release >= (1, 0)

    @property
    def most_processes(self) -> int:
        help_text = _help_of(self.command)
        return 2 if "--num_serve_frontends" in help_text else 1

    def serve(
        self,
        *,
        env: Mapping[str, str] | None = None,
        lora: bool = True,
        processes: int = 1,
        port: int | None = None,
    ) -> Server:
        options = ["--backend", "pytorch", "--max_seq_len", "2048"]
        options += ["--kv_cache_free_gpu_memory_fraction", str(GPU_MEMORY)]
        if lora:
            options += ["--extra_llm_api_options", _lora_options()]
        if processes > 1:
            options += ["--num_serve_frontends", str(processes)]
        return self._start(model_path(), *options, env=env, port=port)

    def load(self, server: Server) -> Load | None:
        # The first reader of the engine's own statistics empties them.
        metrics = server.client.get("/metrics").text
        running = _metric(metrics, r"sagemaker_requests_in_flight")
        answered = _metric(metrics, r"sagemaker_requests_total", 'method="POST"')
        return Load(running, answered - server.output().count(ABORTED))


ENGINES: Final[tuple[RealEngine, ...]] = (RealVLLM(), RealTensorRTLLM())


@functools.cache
def model_path() -> str:
    """Return the model's folder; it is made unless a model was named."""
    if MODEL is None:
        _run_tool(str(TINY_MODEL))
    return MODEL or str(TINY_MODEL)


@functools.cache
def _lora_options() -> str:
    """Write an options file as JSON, which is valid YAML; return its path."""
    config = {
        "max_lora_rank": MAX_RANK,
        "max_loras": SLOTS,
        "max_cpu_loras": 2 * SLOTS,
        "lora_target_modules": ["attn_q", "attn_v"],
    }
    file = Path(tempfile.mkdtemp(), "options.yaml")
    file.write_text(json.dumps({"lora_config": config}))
    return str(file)


@functools.cache
def _help_of(command: str) -> str:
    asked = [str(Path(sys.executable).with_name(command)), "serve", "--help"]
    end = subprocess.run(asked, capture_output=True, check=False, text=True)
    return end.stdout


def _run_tool(*arguments: str) -> None:
    subprocess.run([sys.executable, TINY_MODEL_TOOL, *arguments], check=True)


def _metric(text: str, name: str, label: str = "") -> int:
    """Return the sum of a metric over its labels, or 0 if it is missing."""
    labels = rf"\{{.*{label}.*\}}"
    lines = re.findall(
        rf"^{name}(?:{labels}){'' if label else '?'} ([\d.e+]+)$", text, re.MULTILINE
    )
    return int(sum(float(value) for value in lines))
