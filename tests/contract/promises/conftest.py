"""Run the contract's tests on the stand-ins for TensorRT-LLM, one for each release."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from adapter_engine import write_adapter
from servers import Server
from trtllm import (
    DETECT_DISCONNECTS,
    MODEL,
    RELEASES,
    SEVERAL_FRONTENDS,
    WITH_LORA,
    trtllm,
)

from .engines import Load
from .fixtures import customised_server, script, server

__all__ = ["customised_server", "engine", "script", "server"]


class StandIn:
    """The stand-in for one release."""

    model: ClassVar[str] = MODEL
    rejects_unknown_models: ClassVar[bool] = False
    can_pin: ClassVar[bool] = False

    def __init__(self, release: str) -> None:
        self.name = release

    @property
    def supports_adapters(self) -> bool:
        return self.name in WITH_LORA

    @property
    def max_processes(self) -> int:
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
            lora=lora and self.supports_adapters,
            frontends=processes,
            env=env,
            port=port,
        )

    def write_adapter(self, folder: Path, text: str) -> str:
        return write_adapter(folder, text)

    def long_completion(self) -> dict[str, Any]:
        return {"model": self.model, "prompt": "<wait>"}

    def load(self, server: Server) -> Load | None:
        if self.name not in DETECT_DISCONNECTS:
            return None
        reports = _all_reports(server)
        running = sum(report["watchers"] for report in reports)
        ended = sum(r["generations_begun"] - r["aborted"] for r in reports)
        return Load(running, ended - running)


def _all_reports(server: Server) -> Collection[dict[str, Any]]:
    """Return the report of each front end. Any of them may answer a request."""
    processes = 2 if "--num_serve_frontends" in server.command else 1
    reports: dict[int, dict[str, Any]] = {}
    with server.new_client() as client:
        while len(reports) < processes:
            report = client.get("/standin").json()
            reports[report["pid"]] = report
    return reports.values()


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Deselect the tests of features that a release lacks."""
    items[:] = [item for item in items if not _lacks(item)]


def _lacks(item: pytest.Function) -> bool:
    params = getattr(getattr(item, "callspec", None), "params", {})
    if "engine" not in params:
        return False
    release = StandIn(params["engine"])
    if "with_adapters" in item.fixturenames and not release.supports_adapters:
        return True
    processes: int = params.get("adapter_server", 1)
    return processes > release.max_processes


@pytest.fixture(scope="session", params=RELEASES)
def engine(request: pytest.FixtureRequest) -> StandIn:
    return StandIn(request.param)
