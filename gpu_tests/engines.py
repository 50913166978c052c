"""Real engines: `vllm serve`, `sglang serve` and `trtllm-serve` of this environment."""

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
from real_engines import TOOL, long_completion, sglang_load, write_adapter
from servers import Server

ROOT: Final = Path(__file__).parent.parent
#: The model to serve; if unset, a tiny one is made.
MODEL: Final = os.environ.get("MODEL") or None
TINY_MODEL: Final = ROOT / "build" / "tiny-llama"
#: Includes loading weights and compiling kernels.
START_TIMEOUT_S: Final = 900.0
MAX_RANK: Final = 8
SLOTS: Final = 4
#: The log message of TensorRT-LLM's server about a disconnected client.
ABORTED: Final = "is disconnected, abort"
#: The fraction for one server, because several run at once.
GPU_MEMORY: Final = 0.15


class RealEngine:
    """Attributes and methods that both engines share."""

    command: ClassVar[str]
    distribution: ClassVar[str]
    rejects_unknown_models: ClassVar[bool]
    can_pin: ClassVar[bool]
    env: ClassVar[Mapping[str, str]] = {
        "SAGEMAKER_CONTAINER_LOG_LEVEL": "INFO",
        # Coverage is measured in the tests only: with it engines start twice as slowly.
        "COVERAGE_PROCESS_CONFIG": "",
    }

    @property
    def name(self) -> str:
        return f"{self.distribution} {metadata.version(self.distribution)}"

    @property
    def release(self) -> tuple[int, ...]:
        version = metadata.version(self.distribution)
        return tuple(int(number) for number in re.findall(r"\d+", version)[:2])

    def skip_reason(self) -> str | None:
        """Return why the engine cannot run in this environment, None if it can."""
        try:
            metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            return f"{self.distribution} is not installed"
        if not (Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi")):
            return "no NVIDIA GPU was found"
        return None

    def write_adapter(self, folder: Path, text: str) -> str:
        return write_adapter(model_path(), folder, text)

    def long_completion(self) -> dict[str, Any]:
        return long_completion(self.model)

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
    supports_adapters = True
    rejects_unknown_models = True
    can_pin = True

    @property
    def max_processes(self) -> int:
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


class RealSGLang(RealEngine):
    # Seconds between two looks whether a client has disconnected.
    env: ClassVar[Mapping[str, str]] = {
        **RealEngine.env,
        "SGLANG_REQUEST_STATE_WAIT_TIMEOUT": "1",
    }
    command = "sglang"
    distribution = "sglang"
    supports_adapters = True
    rejects_unknown_models = True
    can_pin = True
    max_processes = 2

    def serve(
        self,
        *,
        env: Mapping[str, str] | None = None,
        lora: bool = True,
        processes: int = 1,
        port: int | None = None,
    ) -> Server:
        options = [
            f"--model-path={model_path()}",
            f"--served-model-name={self.model}",
            f"--mem-fraction-static={GPU_MEMORY}",
            "--enable-metrics",
        ]
        if lora:
            sizes = [f"--max-loras-per-batch={SLOTS}", f"--max-lora-rank={MAX_RANK}"]
            modules = ["--lora-target-modules", "q_proj", "v_proj"]
            options += ["--enable-lora", *sizes, *modules]
        if processes > 1:
            options.append(f"--tokenizer-worker-num={processes}")
        return self._start("serve", *options, env=env, port=port)

    def load(self, server: Server) -> Load | None:
        return sglang_load(server)


class RealTensorRTLLM(RealEngine):
    command = "trtllm-serve"
    distribution = "tensorrt-llm"
    rejects_unknown_models = False
    can_pin = False

    @property
    def supports_adapters(self) -> bool:
        return self.release >= (1, 0)

    @property
    def max_processes(self) -> int:
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
        # The engine's own statistics are removed by the first request for them.
        metrics = server.client.get("/metrics").text
        running = _metric(metrics, r"sagemaker_requests_in_flight")
        answered = _metric(metrics, r"sagemaker_requests_total", 'method="POST"')
        return Load(running, answered - server.output().count(ABORTED))


ENGINES: Final[tuple[RealEngine, ...]] = (RealVLLM(), RealSGLang(), RealTensorRTLLM())


@functools.cache
def model_path() -> str:
    """Return the folder of the model, and make the tiny one if MODEL is unset."""
    if MODEL is None:
        subprocess.run([sys.executable, TOOL, TINY_MODEL], check=True)
    return MODEL or str(TINY_MODEL)


@functools.cache
def _lora_options() -> str:
    """Return the path of an options file: JSON, which is valid YAML."""
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
    call = [str(Path(sys.executable).with_name(command)), "serve", "--help"]
    end = subprocess.run(call, capture_output=True, check=False, text=True)
    return end.stdout


def _metric(text: str, name: str, label: str = "") -> int:
    """Return the sum of a metric over its labels, 0 if it is missing."""
    labels = rf"\{{.*{label}.*\}}"
    lines = re.findall(
        rf"^{name}(?:{labels}){'' if label else '?'} ([\d.e+]+)$", text, re.MULTILINE
    )
    return int(sum(float(value) for value in lines))
