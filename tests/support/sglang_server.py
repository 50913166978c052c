"""Start the real SGLang of an environment of its own with the tiny model."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

from promises.engines import Load
from real import ROOT, tiny_model
from real_engines import long_completion, sglang_load, write_adapter
from servers import Server, shared_memory

#: The release to test; its environment is made by tools/sglang_cpu.
VERSION: Final = os.environ.get("SGLANG_VERSION") or "0.5.23"
RELEASE: Final = tuple(int(part) for part in re.findall(r"\d+", VERSION)[:3])
PYTHON: Final = ROOT / "build" / f"sglang-{VERSION}" / "bin" / "python"
#: As LoRA's slots of the engine; one of them can never be pinned.
SLOTS: Final = 4
CPU_OPTIONS: Final = (
    "--device=cpu",
    "--attention-backend=torch_native",
    "--sampling-backend=pytorch",
    "--disable-overlap-schedule",
    "--mem-fraction-static=0.1",
    "--max-total-tokens=32768",
    "--context-length=8192",
    # Else an idle scheduler takes a whole core.
    "--sleep-on-idle",
)
LORA_OPTIONS: Final = (
    "--enable-lora",
    "--max-lora-rank=8",
    *("--lora-target-modules", "q_proj", "v_proj"),
    "--lora-backend=torch_native",
    f"--max-loras-per-batch={SLOTS}",
)
ENV: Final = {
    "HF_HUB_OFFLINE": "1",
    "SAGEMAKER_CONTAINER_LOG_LEVEL": "INFO",
    # The tiny model has a shorter one.
    "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN": "1",
    # Seconds between two looks whether a client has disconnected.
    "SGLANG_REQUEST_STATE_WAIT_TIMEOUT": "1",
    "SGLANG_USE_CPU_ENGINE": "1",
    # uvicorn restarts a worker that takes longer to import SGLang.
    "SGLANG_UVICORN_WORKER_HEALTHCHECK_TIMEOUT": "300",
    # With coverage, each of its processes starts twice as slowly.
    "COVERAGE_PROCESS_CONFIG": "",
}
START_TIMEOUT_S: Final = 360.0
#: Names in /dev/shm.
_LEFT_BEHIND: Final = ("sglang_loads_*", "multi_tokenizer_args_*", "sem.mp-*", "psm_*")

requires_sglang: Final = [
    pytest.mark.sglang,
    pytest.mark.skipif(
        not PYTHON.exists(), reason=f"SGLang {VERSION} is not installed: make sglang"
    ),
]


class SGLangServer(Server):
    """An SGLang with a temporary folder of its own, where it leaves sockets."""

    def __init__(
        self, *arguments: str, env: Mapping[str, str], port: int | None
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        command: list[str | Path] = [PYTHON, "-m", "sglang.launch_server", *arguments]
        env = {**ENV, "TMPDIR": self._temporary.name, **env}
        super().__init__(command, env, timeout=START_TIMEOUT_S, port=port)

    def close(self) -> None:
        super().close()
        self._temporary.cleanup()
        # SGLang leaves them behind, without this package too.
        for name in _LEFT_BEHIND:
            for file in Path("/dev/shm").glob(name):
                if file in shared_memory:
                    file.unlink(missing_ok=True)


def serve(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    lora: bool = True,
    processes: int = 1,
    port: int | None = None,
) -> SGLangServer:
    """Return an unchanged server of the tiny model."""
    options = [f"--model-path={tiny_model()}", "--served-model-name=tiny"]
    options += [*CPU_OPTIONS, *(LORA_OPTIONS if lora else ()), *arguments]
    if processes > 1:
        options.append(f"--tokenizer-worker-num={processes}")
    return SGLangServer(*options, env=env or {}, port=port)


class RealSGLang:
    """SGLang on this machine's CPU, as the promises see it."""

    name = f"sglang {VERSION}"
    model: ClassVar[str] = "tiny"
    supports_adapters: ClassVar[bool] = True
    rejects_unknown_models: ClassVar[bool] = True
    can_pin: ClassVar[bool] = True
    max_processes: ClassVar[int] = 2

    def serve(
        self,
        *,
        env: Mapping[str, str] | None = None,
        lora: bool = True,
        processes: int = 1,
        port: int | None = None,
    ) -> Server:
        return serve(
            "--enable-metrics", env=env, lora=lora, processes=processes, port=port
        )

    def write_adapter(self, folder: Path, text: str) -> str:
        return write_adapter(tiny_model(), folder, text)

    def long_completion(self) -> dict[str, Any]:
        # SGLang looks for the client, and aborts a stream two seconds later.
        return {**long_completion(self.model), "max_tokens": 6000}

    def load(self, server: Server) -> Load | None:
        return sglang_load(server)
