"""An engine as the promises see it: one release of one engine, started as users do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from servers import Server


class Load(NamedTuple):
    """How many requests an engine computes now, and how many it has completed."""

    running: int
    completed: int


class EngineUnderTest(Protocol):
    """What the promises need to know of an engine, and do with it."""

    @property
    def name(self) -> str:
        """Such as ``"tensorrt_llm 1.2"``."""

    @property
    def model(self) -> str:
        """What requests call the base model."""

    @property
    def has_adapters(self) -> bool:
        """Whether the release can compute by adapters at all."""

    @property
    def knows_its_models(self) -> bool:
        """Whether a model that is not served is refused, rather than ignored."""

    @property
    def has_pins(self) -> bool:
        """Whether adapters can be pinned."""

    @property
    def most_processes(self) -> int:
        """How many front ends, up to two, can share one engine."""

    def serve(
        self,
        *,
        env: Mapping[str, str] | None = None,
        lora: bool = True,
        processes: int = 1,
        port: int | None = None,
    ) -> Server:
        """Return an unchanged server; its ``processes`` share one engine."""

    def write_adapter(self, folder: Path, text: str) -> str:
        """Write an adapter, or write it anew; another text, another answer."""

    def endless(self) -> dict[str, Any]:
        """Return a completion request that is not answered for a long time."""

    def load(self, server: Server) -> Load | None:
        """Return what the engine does, where that can be seen from outside."""
