"""Start the real vLLM of this environment with a tiny model."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest
from packaging.version import Version

from servers import UNMEASURED, Server

ROOT: Final = Path(__file__).parents[2]
MODEL: Final = ROOT / "build" / "tiny-llama"
ADAPTERS: Final = ("adapter-a", "adapter-b")
ADAPTER: Final = "X-Amzn-SageMaker-Adapter-Identifier"
VLLM: Final = str(Path(sys.executable).with_name("vllm"))
OPTIONS: Final = (
    "--served-model-name=tiny",
    "--max-model-len=256",
    "--enforce-eager",
    "--enable-lora",
    "--max-lora-rank=8",
)


def release() -> tuple[int, ...]:
    """Return the release of the installed vLLM, or ``()``."""
    try:
        return Version(metadata.version("vllm")).release
    except metadata.PackageNotFoundError:
        return ()


RELEASE: Final = release()

#: A folder on the import path for each Python that runs an engine on this machine.
STARTUP: Final = str(ROOT / "tools" / "cpu_startup")
#: Variables of every process that imports vLLM. It is not measured: with coverage, it
#: starts half as fast.
QUICK: Final = {**UNMEASURED, "PYTHONPATH": STARTUP}
#: The engine runs the model itself, as on a single GPU; on a CPU it would start another
#: process for it, a third of a start. Its threads get in each other's way if other
#: processes need the cores: one is 15 times as fast.
WITHOUT_WORKER: Final[Mapping[str, str]] = (
    {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1"}
    if RELEASE >= (0, 32)
    else {}
)
#: Another process runs the model, as on several GPUs.
WITH_WORKER: Final = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
ENV: Final = {
    **QUICK,
    **WITHOUT_WORKER,
    "HF_HUB_OFFLINE": "1",
    "SAGEMAKER_CONTAINER_LOG_LEVEL": "INFO",
    # Some releases compile in spite of --enforce-eager, into a folder that all releases
    # share, where a killed process leaves an incomplete library.
    "TORCH_COMPILE_DISABLE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}
#: A start takes 30 s when nothing else runs.
START_TIMEOUT_S: Final = 360.0

# --- features that depend on the release -------------------------------------------

#: Since 0.11.1, vLLM calls bootstrap itself; earlier releases need our patches.
PATCHED: Final[Mapping[str, str]] = {} if RELEASE >= (0, 11, 1) else {"MHCS_AUTO": "1"}
#: How many processes answer requests when more than one is configured.
PROCESSES: Final = 2 if RELEASE >= (0, 9) else 1
API_SERVERS: Final = (f"--api-server-count={PROCESSES}",) if PROCESSES > 1 else ()
two_processes: Final = pytest.mark.skipif(
    PROCESSES < 2, reason="vLLM has --api-server-count since 0.9"
)
#: Its own /invocations answers 400 to a body that is not JSON, not UTF-8, or not an
#: object. In earlier releases each of them is a 500.
REFUSES_BAD_JSON: Final = RELEASE >= (0, 9)
REFUSES_BAD_TEXT: Final = RELEASE >= (0, 18)
REFUSES_LISTS: Final = RELEASE >= (0, 28)
#: On a CPU, no adapter affects the base model. In earlier releases the last adapter
#: that was loaded does, also in an unpatched vLLM.
KEEPS_BASE_MODEL: Final = RELEASE >= (0, 9)
#: Adapters can be pinned and removed from outside the engine's process.
PINS: Final = RELEASE >= (0, 9)

# Greedy, so that the same request has the same answer.
GREEDY: Final = {"model": "tiny", "max_tokens": 8, "temperature": 0}
COMPLETION: Final = {**GREEDY, "prompt": "hello"}
CHAT: Final = {**GREEDY, "messages": [{"role": "user", "content": "hello"}]}


requires_vllm: Final = [
    pytest.mark.vllm,
    pytest.mark.skipif(not RELEASE, reason="vLLM is not installed: make vllm"),
]


@cache
def tiny_model() -> str:
    """Make the tiny model and its adapters, and return the model's folder."""
    tool = ROOT / "tools" / "tiny_model.py"
    loras = [part for name in ADAPTERS for part in ("--lora", name)]
    subprocess.run([sys.executable, tool, MODEL, *loras], check=True)
    return str(MODEL)


def adapter_path(name: str) -> str:
    return str(MODEL.with_name(name))


class VllmServer(Server):
    """A vLLM with a temporary folder of its own, where it leaves sockets."""

    # Each look takes time from a start, of which a CPU has none to spare.
    poll_s: ClassVar[float] = 0.25

    def __init__(
        self,
        command: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        env = {**ENV, "TMPDIR": self._temporary.name, **(env or {})}
        super().__init__(command, env, timeout=START_TIMEOUT_S, port=port)

    def close(self) -> None:
        super().close()
        self._temporary.cleanup()


def serve(
    *arguments: str, env: Mapping[str, str] | None = None, port: int | None = None
) -> Server:
    """Return a server started by ``vllm serve``."""
    command = [VLLM, "serve", tiny_model(), *OPTIONS, *arguments]
    return VllmServer(command, env, port)


def serve_module(*arguments: str, env: Mapping[str, str] | None = None) -> Server:
    """Return a server started by ``python -m``."""
    module = ["-m", "vllm.entrypoints.openai.api_server", "--model", tiny_model()]
    return VllmServer([sys.executable, *module, *OPTIONS, *arguments], env)


def reason(document: Any) -> str:
    """Return the message of an error document, in this release's format."""
    if RELEASE >= (0, 10, 1):
        found: str = document["error"]["message"]
    elif RELEASE >= (0, 9) or "detail" not in document:
        found = document["message"]
    else:  # FastAPI's own form.
        found = document["detail"]
    return found


def complete(server: Server, path: str, adapter: str = "", **fields: Any) -> str:
    """Return the text of a completion; ``adapter`` goes into the header."""
    headers = {ADAPTER: adapter}
    body = {**COMPLETION, **fields}
    answer = server.client.post(path, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["choices"][0]["text"]
    return text
