"""``mhcs check`` finds every fault, and none in a container without one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from adapter_engine import write_adapter
from check_command import run_check
from container_faults import FAULTS, KEY
from mhcs.check.checks import CHECKS
from servers import Server

COMMAND: Final = (sys.executable, "-m", "uvicorn", "--log-level=warning")
SUPPORT: Final = str(Path(__file__).parents[1] / "support")
#: Ends the server, so it has servers of its own.
DRAIN: Final = "drain"
#: uvicorn answers pings, so its fault is one of a server of its own.
PING: Final = "websockets-ping"


def container(folder: Path, app: str = "faulty") -> Server:
    env = {
        "ENGINE": str(folder / "engine"),
        "MHCS_API_KEY": KEY,
        "PYTHONPATH": SUPPORT,
        "SAGEMAKER_ENABLE_STATEFUL_SESSIONS": "true",
    }
    return Server([*COMMAND, f"served_container:{app}"], env=env, ready_path="/ping")


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    for name in ("cats", "dogs"):
        write_adapter(folder / name, name)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with container(tmp_path_factory.mktemp("container")) as server:
        yield server


@pytest.fixture
def arguments(server: Server, adapters: Path) -> list[str]:
    allowed = ["--api-key", KEY, "--adapters", str(adapters), "--expect", "choices"]
    return [server.url, *allowed]


def test_faultless_container_passes_every_check(
    server: Server, arguments: list[str]
) -> None:
    server.client.post("/fault/none")
    checked = run_check(*arguments)
    assert checked.status == 0, checked.document
    others = [name for name in checked.results if not name.startswith(DRAIN)]
    assert checked.named("pass") == others
    assert checked.named("skipped") == [c.name for c in CHECKS if c.area == DRAIN]


def test_every_check_has_a_fault() -> None:
    others = {check.name for check in CHECKS if check.area != DRAIN}
    assert {*FAULTS} == others - {PING}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_found(name: str, server: Server, arguments: list[str]) -> None:
    server.client.post(f"/fault/{name}")
    only = [f"--only={name}", "--timeout=15"]
    if name == "ping-honest":
        only = [f"--only={name}", "--timeout=0.5"]
    checked = run_check(*arguments, *only)
    assert checked.status == 1
    assert checked.named("fail") == [name], checked.document
    result = checked.results[name]
    assert result["finding"]
    assert result["exchanges"]
