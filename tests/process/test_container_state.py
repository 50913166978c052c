"""State belongs to one container: other and new containers do not see it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from adapter_engine import write_adapter
from model_hosting_container_standards.storage import container_id
from model_hosting_container_standards.storage.container import root_mount
from namespaces import UNSHARE, needs_namespaces
from servers import Server, free_port
from session_client import ask, begin
from trtllm import LORA, SERVE, environment_of, write_options

PRINT_ID: Final = (
    "from model_hosting_container_standards.storage import container_id;"
    "print(container_id())"
)
OVERLAY: Final = (
    "611 550 0:58 / / {mount} master:287 - overlay overlay {filesystem},"
    "lowerdir=/var/l/AB:/var/l/CD,upperdir={upper},workdir=/var/x/work"
)
ENDED: Final = "612 550 0:59 / / rw - tmpfs shadowed rw"
PROC: Final = "613 611 0:60 / /proc rw,nosuid - proc proc rw"

StartServer = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[StartServer]:
    """Return a function that starts servers which share a state folder, as /dev/shm."""
    options = write_options(tmp_path / "options.yaml", LORA)
    env = {
        "MHCS_AUTO": "1",
        "SAGEMAKER_ENABLE_STATEFUL_SESSIONS": "true",
        "SAGEMAKER_ADAPTERS_PATH": str(tmp_path / "shared"),
        "SAGEMAKER_SESSIONS_PATH": str(tmp_path / "shared"),
    }
    with ExitStack() as servers:

        def start(*prefix: str, **address: Any) -> Server:
            command = [*prefix, *SERVE, "--extra_llm_api_options", options]
            variables = environment_of("trtllm_1_2", env)
            return servers.enter_context(Server(command, variables, **address))

        yield start


def register(server: Server, folder: Path) -> None:
    body = {"name": "a", "src": write_adapter(folder, "one")}
    assert server.client.post("/adapters", json=body).status_code == 200


def names(server: Server) -> list[str]:
    listed = server.client.get("/adapters").json()["adapters"]
    return [adapter["name"] for adapter in listed]


def test_same_port_on_two_addresses_is_two_servers(
    serve: StartServer, tmp_path: Path
) -> None:
    port = free_port()
    first, second = (serve(host=f"127.0.0.{n}", port=port) for n in (1, 2))
    register(first, tmp_path / "a")
    assert names(second) == []
    assert second.client.delete("/adapters/a").status_code == 404
    assert names(first) == ["a"]


def test_restarted_server_finds_its_state(serve: StartServer, tmp_path: Path) -> None:
    first = serve()
    register(first, tmp_path / "a")
    session = begin(first.client)
    first.kill()
    second = serve(port=first.port)
    assert names(second) == ["a"]
    assert ask(second.client, session, GENERATE).status_code == 200


GENERATE: Final = {"model": "standin", "prompt": "hello"}


@needs_namespaces
def test_new_container_starts_empty(serve: StartServer, tmp_path: Path) -> None:
    first = serve(*UNSHARE)
    register(first, tmp_path / "a")
    session = begin(first.client)
    first.kill()
    second = serve(*UNSHARE, port=first.port)
    assert names(second) == []
    assert ask(second.client, session, GENERATE).status_code == 400


@needs_namespaces
def test_servers_of_one_container_share_sessions(
    serve: StartServer,
) -> None:
    first, second, other = serve(), serve(), serve(*UNSHARE)
    session = begin(first.client)
    statuses = [ask(s.client, session, GENERATE).status_code for s in (second, other)]
    assert statuses == [200, 400]


# --- container ids -----------------------------------------------------------------


def ids(prefix: Sequence[str], processes: int = 1) -> list[str]:
    """Return what the processes of a container print, one after the other."""
    script = "; ".join([f"{sys.executable} -c '{PRINT_ID}'"] * processes)
    command = [*prefix, "sh", "-c", f"{script}; true"]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return done.stdout.split()


def test_processes_of_a_container_have_the_same_id() -> None:
    assert {*ids((), processes=2)} == {container_id()}


@needs_namespaces
def test_containers_have_different_ids() -> None:
    apart = [ids(UNSHARE, processes=2) for _ in range(2)]
    # As with `docker run --pid=host`, where process 1 is the machine's.
    of_the_host = ids(("unshare", "--mount"))
    assert all(len({*found}) == 1 for found in apart)
    assert len({container_id(), *apart[0], *apart[1], *of_the_host}) == 4


def test_process_without_readable_mounts_has_an_id(tmp_path: Path) -> None:
    assert container_id(tmp_path) == container_id(tmp_path) != container_id()


def overlay(
    upper: str = "/var/a/diff", mount: str = "rw", filesystem: str = "rw"
) -> str:
    line = OVERLAY.format(upper=upper, mount=mount, filesystem=filesystem)
    return f"{ENDED}\n{line}\n{PROC}\n"


def test_topmost_mount_identifies_root() -> None:
    assert root_mount(overlay()) == "0:58 / overlay overlay upperdir=/var/a/diff"
    assert root_mount(overlay(upper="/var/b/diff")) != root_mount(overlay())
    assert root_mount(overlay(mount="ro", filesystem="ro")) == root_mount(overlay())
    assert root_mount(PROC) == root_mount("") == root_mount("what?") == ""
