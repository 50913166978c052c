"""Folders of adapters, good ones and bad ones, and servers that load them."""

from __future__ import annotations

import json
import math
import platform
import shutil
import struct
import tempfile
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
from safetensors_files import ADAPTER as WEIGHTS
from safetensors_files import Stored, load, save
from servers import Server, free_port

Change = Callable[[Path], Any]

#: How wide the tiny model is.
HIDDEN = 128
#: How many adapters the server computes at once, and keeps.
SLOTS = 8
CONFIG = "adapter_config.json"


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


def rename(old: str, new: str) -> Change:
    """Give the weights to other modules."""

    def change(folder: Path) -> None:
        tensors = load(folder / WEIGHTS)
        save(folder / WEIGHTS, {n.replace(old, new): t for n, t in tensors.items()})

    return change


def rename_modules(folder: Path) -> None:
    """Give the weights to modules that the model does not have."""
    rename(".q_proj.", ".z_proj.")(folder)
    change_config(folder, target_modules=["z_proj", "v_proj"])


def double(folder: Path) -> None:
    """Give the weights to other modules as well: half of them fit."""
    tensors = load(folder / WEIGHTS)
    rename("model.layers", "model.language_model.layers")(folder)
    save(folder / WEIGHTS, {**tensors, **load(folder / WEIGHTS)})


def narrow(folder: Path) -> None:
    """Make it of a model that is half as wide."""
    tensors = load(folder / WEIGHTS)
    for name, tensor in tensors.items():
        tensors[name] = cut(tensor, *(min(size, HIDDEN // 2) for size in tensor.shape))
    save(folder / WEIGHTS, tensors)


def cut(tensor: Stored, rows: int, columns: int) -> Stored:
    width, size = tensor.shape[1], len(tensor.data) // math.prod(tensor.shape)
    starts = (row * width * size for row in range(rows))
    data = (tensor.data[start : start + columns * size] for start in starts)
    return Stored(tensor.dtype, (rows, columns), b"".join(data))


def spoil(number: float) -> Change:
    """Make one of the weights that number."""

    def change(folder: Path) -> None:
        tensors = load(folder / WEIGHTS)
        name, tensor = [*tensors.items()][-1]
        data = tensor.data[:-4] + struct.pack("<f", number)
        save(folder / WEIGHTS, {**tensors, name: tensor._replace(data=data)})

    return change


#: What is wrong with each bad adapter, and what makes it so.
DAMAGES: dict[str, Change] = {
    "empty": empty,
    "rank": lambda folder: change_config(folder, r=64),
    "modules": rename_modules,
    "truncated": cut_weights,
    "config": lambda folder: (folder / CONFIG).write_text("{"),
    "weights": lambda folder: (folder / WEIGHTS).unlink(),
    "prefix": rename("model.layers", "model.language_model.layers"),
    "no-prefix": rename("base_model.model.model.layers", "base_model.model.layers"),
    "layers": rename("layers.", "layers.7"),
    "narrow": narrow,
    "half": double,
    "nan": spoil(math.nan),
    "infinite": spoil(-math.inf),
}


def use_pattern(folder: Path) -> None:
    """Give one kind of module another rank than the others."""
    tensors = load(folder / WEIGHTS)
    for name, tensor in tensors.items():
        if ".q_proj." in name:
            rows, columns = tensor.shape
            shape = (4, columns) if ".lora_A." in name else (rows, 4)
            tensors[name] = cut(tensor, *shape)
    save(folder / WEIGHTS, tensors)
    change_config(folder, rank_pattern={"q_proj": 4})


def store_as(dtype: str) -> Change:
    """Store the weights by half the bytes."""

    def change(folder: Path) -> None:
        tensors = load(folder / WEIGHTS)
        stored = {name: halve(tensor, dtype) for name, tensor in tensors.items()}
        save(folder / WEIGHTS, stored)

    return change


def halve(tensor: Stored, dtype: str) -> Stored:
    if dtype == "BF16":  # The upper half of the bytes.
        data = b"".join(
            tensor.data[at + 2 : at + 4] for at in range(0, len(tensor.data), 4)
        )
    else:
        count = len(tensor.data) // 4
        data = struct.pack(f"<{count}e", *struct.unpack(f"<{count}f", tensor.data))
    return Stored(dtype, tensor.shape, data)


def keep(part: str) -> Change:
    """Leave out what is not for these modules."""

    def change(folder: Path) -> None:
        tensors = load(folder / WEIGHTS)
        save(folder / WEIGHTS, {n: t for n, t in tensors.items() if part in n})

    return change


#: What PEFT writes too, and vLLM takes.
VARIANTS: dict[str, Change] = {
    "rslora": lambda folder: change_config(folder, use_rslora=True),
    "all-linear": lambda folder: change_config(folder, target_modules="all-linear"),
    "last-layer": keep(".layers.1."),
    "one-kind": keep(".v_proj."),
    "bf16": store_as("BF16"),
    "f16": store_as("F16"),
    "unprefixed": rename("base_model.model.", ""),
    "pattern": use_pattern,
}


@pytest.fixture(scope="session")
def adapters_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The only folder a server may load from: ``adapter-a``, ``adapter-b``, bad ones.

    Also ``link-out``, a symbolic link to an adapter elsewhere.
    """
    root = tmp_path_factory.mktemp("adapters-root")
    for name in ADAPTERS:
        copy_adapter(name, root / name)
    for name, change in {**DAMAGES, **VARIANTS}.items():
        change(copy_adapter("adapter-a", root / name))
    (root / "link-out").symlink_to(adapter_path("adapter-a"))
    return root


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder for what vLLM leaves behind: a short path, as it has sockets there."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield


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
