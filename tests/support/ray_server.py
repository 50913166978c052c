"""Start the real Ray Serve LLM of an environment of its own with the tiny model."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

from promises.engines import Load
from real import ROOT, STARTUP, tiny_model
from real_engines import write_adapter
from servers import Server, ServerFailed, polling

#: The release to test; its environment is made by tools/ray_cpu.
VERSION: Final = os.environ.get("RAY_VERSION") or "2.60.0"
PYTHON: Final = ROOT / "build" / f"ray-{VERSION}" / "bin" / "python"
CLUSTER: Final = ROOT / "tools" / "ray_cluster.py"
ENV: Final = {
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": STARTUP,
    "SAGEMAKER_CONTAINER_LOG_LEVEL": "INFO",
    "TORCH_COMPILE_DISABLE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # With coverage, each of its processes starts twice as slowly.
    "COVERAGE_PROCESS_CONFIG": "",
}
#: A start takes 90 s when nothing else runs.
START_TIMEOUT_S: Final = 900.0
#: Serve's replicas end one kind after the other, each of which takes seconds.
STOP_TIMEOUT_S: Final = 60.0
#: What the program prints once all replicas run.
_READY: Final = "ready\n"

requires_ray: Final = [
    pytest.mark.ray,
    pytest.mark.skipif(
        not PYTHON.exists(), reason=f"Ray {VERSION} is not installed: make ray"
    ),
]


class RayServer(Server):
    """A cluster on this machine; the server is Serve's proxy on the head node.

    By default there are two nodes, two replicas of the model and two of the ingress.
    """

    def __init__(
        self, *arguments: str, env: Mapping[str, str], port: int | None
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        command: list[str | Path] = [PYTHON, CLUSTER, tiny_model(), *arguments]
        folder = self._temporary.name
        env = {**ENV, "RAY_TMPDIR": folder, "TMPDIR": folder, **env}
        super().__init__(command, env, timeout=START_TIMEOUT_S, port=port)

    def wait_until_ready(
        self, path: str = "/health", timeout: float | None = None
    ) -> None:
        """Return once all replicas run, whatever ``path`` answers before."""
        timeout = self.timeout if timeout is None else timeout
        for _ in polling(timeout, interval=0.5):
            if _READY in self.stdout():
                return
            if self.status() is not None:
                raise ServerFailed(self._describe(f"ended with {self.status()}"))
        raise ServerFailed(self._describe(f"is not ready after {timeout} s"))

    def stop(self) -> None:
        if self.status() is None:
            os.kill(self.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
        super().stop()

    def close(self) -> None:
        super().close()
        self._temporary.cleanup()


def serve(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    lora: bool = True,
    port: int | None = None,
) -> RayServer:
    """Return a cluster that serves the tiny model."""
    options = ["--lora"] if lora else []
    return RayServer(*options, *arguments, env=env or {}, port=port)


class RealRay:
    """Ray Serve LLM on this machine's CPU, as the promises see it."""

    name = f"ray {VERSION}"
    model: ClassVar[str] = "tiny"
    supports_adapters: ClassVar[bool] = True
    rejects_unknown_models: ClassVar[bool] = True
    can_pin: ClassVar[bool] = True
    #: Each cluster has two replicas of the ingress.
    max_processes: ClassVar[int] = 1

    def serve(
        self,
        *,
        env: Mapping[str, str] | None = None,
        lora: bool = True,
        processes: int = 1,
        port: int | None = None,
    ) -> Server:
        """Return a cluster, which has two replicas of the ingress in any case."""
        return serve(env=env, lora=lora, port=port)

    def write_adapter(self, folder: Path, text: str) -> str:
        return write_adapter(tiny_model(), folder, text)

    def long_completion(self) -> dict[str, Any]:
        many = {"max_tokens": 200, "ignore_eos": True, "temperature": 0}
        return {"model": self.model, "prompt": "hello", **many}

    def load(self, server: Server) -> Load | None:
        """Return None: vLLM's gauges are not on the ingress' page."""
        return None
