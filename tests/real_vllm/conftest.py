"""Folders of adapters, good ones and bad ones, and servers that load them."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import pytest

from real import (
    ADAPTERS,
    API_SERVERS,
    PATCHED,
    adapter_path,
    serve,
    tiny_model,
    two_processes,
)
from servers import Server, free_port

#: How many adapters the server computes at once, and keeps.
SLOTS = 8
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def copy_adapter(name: str, folder: Path) -> Path:
    """Put a copy of one of the tiny model's adapters at ``folder``."""
    tiny_model()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(adapter_path(name), folder)
    return folder


def change_config(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **fields}))


def cut_weights(folder: Path) -> None:
    weights = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(weights[: len(weights) // 2])


def empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def rename_modules(folder: Path) -> None:
    """Give the weights to modules that the model does not have."""
    weights = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(weights.replace(b".q_proj.", b".z_proj."))
    change_config(folder, target_modules=["z_proj", "v_proj"])


#: What is wrong with each bad adapter, and what makes it so.
DAMAGES: dict[str, Callable[[Path], Any]] = {
    "empty": empty,
    "rank": lambda folder: change_config(folder, r=64),
    "modules": rename_modules,
    "truncated": cut_weights,
    "config": lambda folder: (folder / CONFIG).write_text("{"),
    "weights": lambda folder: (folder / WEIGHTS).unlink(),
}


@pytest.fixture(scope="session")
def adapters_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The only folder a server may load from: ``adapter-a``, ``adapter-b``, bad ones.

    Also ``link-out``, a symbolic link to an adapter elsewhere.
    """
    root = tmp_path_factory.mktemp("adapters-root")
    for name in ADAPTERS:
        copy_adapter(name, root / name)
    for damage, apply in DAMAGES.items():
        apply(copy_adapter("adapter-a", root / damage))
    (root / "link-out").symlink_to(adapter_path("adapter-a"))
    return root


@pytest.fixture(scope="session", autouse=True)
def versions(record_testsuite_property: Callable[[str, object], None]) -> None:
    """Say in the report of --junitxml what was tested with what."""
    record_testsuite_property("python", platform.python_version())
    for name in ("vllm", "torch", "transformers", "fastapi", "starlette", "pydantic"):
        record_testsuite_property(name, metadata.version(name))


class Deployment:
    """A vLLM server that may be killed and started again: same port, same state.

    A start takes half a minute, so the tests share it.
    """

    def __init__(self, processes: int, root: Path, state: Path) -> None:
        self.processes = processes
        self.root = root
        self._env = {
            **PATCHED,
            "SAGEMAKER_ADAPTERS_ROOT": str(root),
            "SAGEMAKER_ADAPTERS_PATH": str(state),
            # Responses may go on in the background.
            "VLLM_ENABLE_RESPONSES_API_STORE": "1",
        }
        self._port = free_port()
        self.server = self._new_server()

    def _new_server(self) -> Server:
        processes = API_SERVERS if self.processes > 1 else ()
        options = (*processes, f"--max-loras={SLOTS}", f"--max-cpu-loras={SLOTS}")
        return serve(*options, env=self._env, port=self._port)

    def start_anew(self) -> None:
        """Start it after :meth:`Server.kill`."""
        self.server.close()
        self.server = self._new_server()
        self.server.__enter__()

    def new_client(self) -> httpx.Client:
        return self.server.new_client()

    def unregister_all(self) -> None:
        for adapter in self.server.client.get("/adapters").json()["adapters"]:
            path = f"/adapters/{adapter['name']}"
            self.server.client.delete(path).raise_for_status()


@pytest.fixture(
    scope="session",
    params=[1, pytest.param(2, marks=two_processes)],
    ids=["one process", "two processes"],
)
def shared_deployment(
    request: pytest.FixtureRequest,
    adapters_root: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployment]:
    state = tmp_path_factory.mktemp("adapters-state")
    deployment = Deployment(request.param, adapters_root, state)
    deployment.server.__enter__()
    yield deployment
    deployment.server.close()


@pytest.fixture
def deployment(shared_deployment: Deployment) -> Deployment:
    """One that runs, and has no adapters."""
    if shared_deployment.server.status() is not None:
        shared_deployment.start_anew()  # A test that failed left it so.
    shared_deployment.unregister_all()
    return shared_deployment
