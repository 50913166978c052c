"""Folders of adapters, good ones and bad ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from real import ADAPTERS, adapter_path, tiny_model

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
