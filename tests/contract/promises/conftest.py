"""Here the engines are the stand-ins for TensorRT-LLM, one for each release."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from adapter_engine import write_adapter
from servers import Server
from trtllm import (
    MODEL,
    RELEASES,
    SEVERAL_FRONTENDS,
    WATCHING,
    WITH_LORA,
    trtllm,
)

from .engines import Load
from .fixtures import customised, script, server

__all__ = ["customised", "engine", "script", "server"]


class StandIn:
    """A release of the stand-in, as the promises see it."""

    model: ClassVar[str] = MODEL
    knows_its_models: ClassVar[bool] = False
    has_pins: ClassVar[bool] = False

    def __init__(self, release: str) -> None:
        self.name = release

    @property
    def has_adapters(self) -> bool:
        return self.name in WITH_LORA

    @property
    def most_processes(self) -> int:
        return 2 if self.name == SEVERAL_FRONTENDS else 1

    def serve(
        self,
        *,
        env: Mapping[str, str] | None = None,
        lora: bool = True,
        processes: int = 1,
        port: int | None = None,
    ) -> Server:
        return trtllm(
            self.name,
            lora=lora and self.has_adapters,
            frontends=processes,
            env=env,
            port=port,
        )

    def write_adapter(self, folder: Path, text: str) -> str:
        return write_adapter(folder, text)

    def endless(self) -> dict[str, Any]:
        return {"model": self.model, "prompt": "<wait>"}

    def load(self, server: Server) -> Load | None:
        if self.name not in WATCHING:
            return None
        facts = _facts_of_all(server)
        running = sum(one["watchers"] for one in facts)
        ended = sum(one["generations_begun"] - one["aborted"] for one in facts)
        return Load(running, ended - running)


def _facts_of_all(server: Server) -> Collection[dict[str, Any]]:
    """Return what each front end says of itself; none can be asked by name."""
    processes = 2 if "--num_serve_frontends" in server.command else 1
    facts: dict[int, dict[str, Any]] = {}
    with server.new_client() as client:
        while len(facts) < processes:
            one = client.get("/standin").json()
            facts[one["pid"]] = one
    return facts.values()


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Leave out what a release does not have."""
    items[:] = [item for item in items if not _lacks(item)]


def _lacks(item: pytest.Function) -> bool:
    params = getattr(getattr(item, "callspec", None), "params", {})
    if "engine" not in params:
        return False
    release = StandIn(params["engine"])
    if "with_adapters" in item.fixturenames and not release.has_adapters:
        return True
    processes: int = params.get("shared", 1)
    return processes > release.most_processes


@pytest.fixture(scope="session", params=RELEASES)
def engine(request: pytest.FixtureRequest) -> StandIn:
    return StandIn(request.param)
