"""Start the stand-ins for TensorRT-LLM.

    with trtllm("trtllm_1_2", options={"lora_config": {"max_lora_rank": 8}}) as server:
        server.client.post("/v1/completions", json={"model": "m", "prompt": "hello"})

Each folder ``trtllm_*`` of ``tests/support/standins`` has a package ``tensorrt_llm``.
To an integration it behaves like the release that it is named after; it is written from
facts, not copied. ``trtllm_common`` has the shared modules. As the first folder on
``PYTHONPATH``, it takes precedence over a real TensorRT-LLM.

The model generates ``base: PROMPT``, an adapter ``TEXT: PROMPT`` with the TEXT of
``adapter_engine.write_adapter``. In ``standins/trtllm_common``, ``answering.py`` has
the prompts that make responses long or delay them, ``weights.py`` the adapter cache,
``worker.py`` failures, and ``facts.py`` the result of :meth:`TrtllmServer.facts`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from servers import UNMEASURED, Exit, Server, serve_until_exit

SUPPORT: Final = Path(__file__).parent
STANDINS: Final = SUPPORT / "standins"

RELEASES: Final = (
    "trtllm_0_17",
    "trtllm_0_21",
    "trtllm_1_0",
    "trtllm_1_2",
    "trtllm_1_3",
    "trtllm_main",
    # Not in main yet: registers its routes while it starts.
    "trtllm_next",
)
#: The release whose servers are measured. Coverage slows each start down, and the other
#: releases execute the same code.
MEASURED: Final = "trtllm_main"
#: The release that implements ``--num_serve_frontends``.
SEVERAL_FRONTENDS: Final = "trtllm_main"
#: Releases whose requests may name an adapter.
WITH_LORA: Final = RELEASES[2:]
#: Releases whose endpoints notice a disconnect.
DETECT_DISCONNECTS: Final = RELEASES[1:]

MODEL: Final = "standin"
SERVE: Final = ("trtllm-serve", MODEL)
#: Enough for adapters of rank 8, which is what ``write_adapter`` writes.
LORA: Final = {"lora_config": {"max_lora_rank": 64, "max_loras": 4, "max_cpu_loras": 4}}

_SCRIPTS: Final = Path(sys.executable).parent


def environment_of(
    release: str, env: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return ``env`` and the variables that put the release on the path."""
    return {
        "PATH": os.pathsep.join(
            [str(STANDINS / "bin"), str(_SCRIPTS), os.environ["PATH"]]
        ),
        "PYTHONPATH": os.pathsep.join([str(STANDINS / release), str(SUPPORT)]),
        **({} if release == MEASURED else UNMEASURED),
        **(env or {}),
    }


class TrtllmServer(Server):
    """A server with a temporary file of options."""

    def __init__(
        self,
        release: str,
        command: tuple[str, ...],
        options: Mapping[str, Any],
        env: Mapping[str, str] | None,
        ready_path: str | None,
        port: int | None,
    ) -> None:
        self._options = tempfile.TemporaryDirectory()
        file = write_options(Path(self._options.name, "options.yaml"), options)
        given = ("--extra_llm_api_options", file) if options else ()
        super().__init__(
            [*command, *given],
            # A killed server leaves files in its temporary folder.
            environment_of(release, {"TMPDIR": self._options.name, **(env or {})}),
            ready_path=ready_path,
            port=port,
        )

    def facts(self) -> dict[str, Any]:
        """Return ``GET /standin`` of the server, or of one of its front ends."""
        found: dict[str, Any] = self.client.get("/standin").json()
        return found

    def close(self) -> None:
        super().close()
        self._options.cleanup()


def trtllm(
    release: str,
    *arguments: str,
    options: Mapping[str, Any] | None = None,
    lora: bool = False,
    frontends: int = 1,
    env: Mapping[str, str] | None = None,
    command: tuple[str, ...] = SERVE,
    ready_path: str | None = "/health",
    port: int | None = None,
) -> TrtllmServer:
    """Return a server of the release.

    Args:
        arguments: further arguments of the command.
        options: the content of the file for ``--extra_llm_api_options``.
        lora: add :data:`LORA` to the options.
        frontends: the number of processes that respond; more than one only in
            :data:`SEVERAL_FRONTENDS`.
        command: the command, such as ``("trtllm-serve", "disaggregated")``.
    """
    several = ("--num_serve_frontends", str(frontends)) if frontends > 1 else ()
    given = {**(LORA if lora else {}), **(options or {})}
    whole = (*command, *arguments, *several)
    return TrtllmServer(release, whole, given, env, ready_path, port)


def write_options(path: Path, options: Mapping[str, Any]) -> str:
    """Write an options file as JSON, which is valid YAML; return its path."""
    path.write_text(json.dumps(options))
    return str(path)


def fail_to_start(
    release: str,
    *command: str,
    env: Mapping[str, str] | None = None,
    lora: bool = False,
) -> Exit:
    """Run a server of the release that must exit within seconds."""
    variables = environment_of(release, env)
    with tempfile.TemporaryDirectory() as folder:
        file = write_options(Path(folder, "options.yaml"), LORA)
        given = ("--extra_llm_api_options", file) if lora else ()
        return serve_until_exit((*(command or SERVE), *given), variables)


def lora_request(name: str, key: int, path: str) -> dict[str, Any]:
    """Return the ``lora_request`` of a request's body."""
    return {"lora_name": name, "lora_int_id": key, "lora_path": path}
