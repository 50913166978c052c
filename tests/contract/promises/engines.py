"""The interface of an engine under test: one release, started as users start it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from servers import Server


class Load(NamedTuple):
    """The number of requests that an engine computes and that it has completed."""

    running: int
    completed: int


class EngineUnderTest(Protocol):
    """An engine that the tests can start and observe."""

    @property
    def name(self) -> str:
        """The name and the release, such as ``"tensorrt_llm 1.2"``."""

    @property
    def model(self) -> str:
        """The name of the base model in requests."""

    @property
    def supports_adapters(self) -> bool:
        """Whether the release supports adapters."""

    @property
    def rejects_unknown_models(self) -> bool:
        """Whether an unknown model is an error; otherwise the name is ignored."""

    @property
    def can_pin(self) -> bool:
        """Whether adapters can be pinned."""

    @property
    def max_processes(self) -> int:
        """The number of front ends that can share one engine: one or two."""

    def serve(
        self,
        *,
        env: Mapping[str, str] | None = None,
        lora: bool = True,
        processes: int = 1,
        port: int | None = None,
    ) -> Server:
        """Return a server without customer code; ``processes`` share an engine."""

    def write_adapter(self, folder: Path, text: str) -> str:
        """Write or replace an adapter. Each ``text`` gives other completions."""

    def long_completion(self) -> dict[str, Any]:
        """Return a completion request that takes a long time."""

    def load(self, server: Server) -> Load | None:
        """Return the load of the engine, None if the engine does not report it."""
