"""Valid and invalid adapter folders, and servers that load them."""

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
    WITH_WORKER,
    adapter_path,
    serve,
    tiny_model,
    two_processes,
)
from safetensors_files import ADAPTER as WEIGHTS
from safetensors_files import Stored, load, save
from servers import Server, free_port

Change = Callable[[Path], Any]

#: The hidden size of the tiny model.
HIDDEN = 128
#: The number of adapters that the server runs at once, and caches.
SLOTS = 8
CONFIG = "adapter_config.json"


def copy_adapter(name: str, folder: Path) -> Path:
    """Copy one of the tiny model's adapters to ``folder``."""
    tiny_model()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(adapter_path(name), folder)
    return folder


def change_config(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **fields}))


def truncate_weights(folder: Path) -> None:
    weights = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(weights[: len(weights) // 2])


def empty_folder(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def rename_tensors(old: str, new: str) -> Change:
    """Rename tensors."""

    def change(folder: Path) -> None:
        tensors = load(folder / WEIGHTS)
        save(folder / WEIGHTS, {n.replace(old, new): t for n, t in tensors.items()})

    return change


def rename_modules(folder: Path) -> None:
    """Rename the tensors to modules that the model does not have."""
    rename_tensors(".q_proj.", ".z_proj.")(folder)
    change_config(folder, target_modules=["z_proj", "v_proj"])


def add_unknown_modules(folder: Path) -> None:
    """Copy the tensors to modules that the model does not have: half of them fit."""
    tensors = load(folder / WEIGHTS)
    rename_tensors("model.layers", "model.language_model.layers")(folder)
    save(folder / WEIGHTS, {**tensors, **load(folder / WEIGHTS)})


def halve_width(folder: Path) -> None:
    """Crop the tensors to half the hidden size."""
    tensors = load(folder / WEIGHTS)
    for name, tensor in tensors.items():
        tensors[name] = crop(tensor, *(min(size, HIDDEN // 2) for size in tensor.shape))
    save(folder / WEIGHTS, tensors)


def crop(tensor: Stored, rows: int, columns: int) -> Stored:
    width, size = tensor.shape[1], len(tensor.data) // math.prod(tensor.shape)
    starts = (row * width * size for row in range(rows))
    data = (tensor.data[start : start + columns * size] for start in starts)
    return Stored(tensor.dtype, (rows, columns), b"".join(data))


def set_last_weight(number: float) -> Change:
    """Set the last weight to ``number``."""

    def change(folder: Path) -> None:
        tensors = load(folder / WEIGHTS)
        name, tensor = [*tensors.items()][-1]
        data = tensor.data[:-4] + struct.pack("<f", number)
        save(folder / WEIGHTS, {**tensors, name: tensor._replace(data=data)})

    return change


#: The invalid adapters: names, and the changes that make a valid one invalid.
DAMAGES: dict[str, Change] = {
    "empty": empty_folder,
    "rank": lambda folder: change_config(folder, r=64),
    "modules": rename_modules,
    "truncated": truncate_weights,
    "config": lambda folder: (folder / CONFIG).write_text("{"),
    "weights": lambda folder: (folder / WEIGHTS).unlink(),
    "prefix": rename_tensors("model.layers", "model.language_model.layers"),
    "no-prefix": rename_tensors(
        "base_model.model.model.layers", "base_model.model.layers"
    ),
    "layers": rename_tensors("layers.", "layers.7"),
    "narrow": halve_width,
    "half": add_unknown_modules,
    "nan": set_last_weight(math.nan),
    "infinite": set_last_weight(-math.inf),
}


def use_rank_pattern(folder: Path) -> None:
    """Give one kind of module a different rank."""
    tensors = load(folder / WEIGHTS)
    for name, tensor in tensors.items():
        if ".q_proj." in name:
            rows, columns = tensor.shape
            shape = (4, columns) if ".lora_A." in name else (rows, 4)
            tensors[name] = crop(tensor, *shape)
    save(folder / WEIGHTS, tensors)
    change_config(folder, rank_pattern={"q_proj": 4})


def store_as(dtype: str) -> Change:
    """Store the weights as 16-bit numbers."""

    def change(folder: Path) -> None:
        tensors = load(folder / WEIGHTS)
        stored = {
            name: convert_to_16_bit(tensor, dtype) for name, tensor in tensors.items()
        }
        save(folder / WEIGHTS, stored)

    return change


def convert_to_16_bit(tensor: Stored, dtype: str) -> Stored:
    if dtype == "BF16":  # The upper half of the bytes.
        data = b"".join(
            tensor.data[at + 2 : at + 4] for at in range(0, len(tensor.data), 4)
        )
    else:
        count = len(tensor.data) // 4
        data = struct.pack(f"<{count}e", *struct.unpack(f"<{count}f", tensor.data))
    return Stored(dtype, tensor.shape, data)


def keep_modules(part: str) -> Change:
    """Drop the tensors of other modules."""

    def change(folder: Path) -> None:
        tensors = load(folder / WEIGHTS)
        save(folder / WEIGHTS, {n: t for n, t in tensors.items() if part in n})

    return change


#: Other formats that PEFT writes and vLLM accepts.
VARIANTS: dict[str, Change] = {
    "rslora": lambda folder: change_config(folder, use_rslora=True),
    "all-linear": lambda folder: change_config(folder, target_modules="all-linear"),
    "last-layer": keep_modules(".layers.1."),
    "one-kind": keep_modules(".v_proj."),
    "bf16": store_as("BF16"),
    "f16": store_as("F16"),
    "unprefixed": rename_tensors("base_model.model.", ""),
    "pattern": use_rank_pattern,
}


@pytest.fixture(scope="session")
def adapters_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapters root: ``adapter-a``, ``adapter-b``, variants and invalid adapters.

    ``link-out`` is a symbolic link to an adapter outside.
    """
    root = tmp_path_factory.mktemp("adapters-root")
    for name in ADAPTERS:
        copy_adapter(name, root / name)
    for name, change in {**DAMAGES, **VARIANTS}.items():
        change(copy_adapter("adapter-a", root / name))
    (root / "link-out").symlink_to(adapter_path("adapter-a"))
    return root


@pytest.fixture
def temporary_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A temporary folder for vLLM, with a path that is short enough for its sockets."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield


@pytest.fixture(scope="session", autouse=True)
def versions(record_testsuite_property: Callable[[str, object], None]) -> None:
    """Record the tested versions in the report of --junitxml."""
    record_testsuite_property("python", platform.python_version())
    for name in ("vllm", "torch", "transformers", "fastapi", "starlette", "pydantic"):
        record_testsuite_property(name, metadata.version(name))


class Deployment:
    """A vLLM server that can be killed and restarted with the same port and state.

    The tests share it, because a start takes half a minute.
    """

    def __init__(self, processes: int, root: Path, state: Path) -> None:
        self.processes = processes
        self.root = root
        self._env = {
            **PATCHED,
            "SAGEMAKER_ADAPTERS_ROOT": str(root),
            "SAGEMAKER_ADAPTERS_PATH": str(state),
            # Enables background responses.
            "VLLM_ENABLE_RESPONSES_API_STORE": "1",
        }
        self._port = free_port()
        self.server = self._new_server()

    def _new_server(self) -> Server:
        several = self.processes > 1
        processes = API_SERVERS if several else ()
        options = (*processes, f"--max-loras={SLOTS}", f"--max-cpu-loras={SLOTS}")
        # The engine of one of the two loads adapters in another process.
        env = {**self._env, **WITH_WORKER} if several else self._env
        return serve(*options, env=env, port=self._port)

    def restart(self) -> None:
        """Start the server again after :meth:`Server.kill`."""
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
    """A running server without adapters."""
    if shared_deployment.server.status() is not None:
        shared_deployment.restart()  # A failed test may leave it stopped.
    shared_deployment.unregister_all()
    return shared_deployment
