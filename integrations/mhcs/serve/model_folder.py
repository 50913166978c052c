"""What lies in a model folder: a model, or only what people bring beside one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

_CONFIGS: Final = frozenset({"config.json", "params.json"})
_WEIGHTS: Final = (".bin", ".engine", ".gguf", ".pt", ".pth", ".safetensors")
#: What a training leaves beside weights, and the weights of an adapter.
_NO_WEIGHTS: Final = re.compile(
    r"(adapter_model|optimizer|rng_state|scaler|scheduler|training_args)[._-].*"
)
_ADAPTER: Final = "adapter_config.json"
#: Folders that are never a model, whatever they have.
_CODE: Final = frozenset({"__pycache__", "adapters", "code", "lib", "requirements"})
#: How many names a message has.
_MOST: Final = 12


class ModelFolder(msgspec.Struct, frozen=True):
    """A model folder as it was found.

    ``files`` are the names of what can be read as a file. ``entries`` are all names, as
    messages show them.
    """

    path: Path
    files: frozenset[str]
    entries: tuple[str, ...]

    @property
    def has_model(self) -> bool:
        if self.files & _CONFIGS:
            return True
        weights = [name for name in self.files if _is_weights(name)]
        if _ADAPTER in self.files:
            return any(name.endswith(".gguf") for name in weights)
        return bool(weights)

    @property
    def is_adapter(self) -> bool:
        return _ADAPTER in self.files and not self.has_model

    def base_model(self) -> str | None:
        """Return the model that an adapter says it is for."""
        try:
            config = json.loads((self.path / _ADAPTER).read_bytes())
            base = config["base_model_name_or_path"]
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return base if isinstance(base, str) and base else None

    def inner_models(self) -> Iterator[Path]:
        """Yield folders in this one that have a model, a hub's snapshots too."""
        for name in self.entries:
            if name.endswith("/") and not _is_left_out(name.rstrip("/")):
                inner = self.path / name
                for folder in (inner, *_snapshots(inner)):
                    if _has_model(folder):
                        yield folder

    def describe(self) -> str:
        """Return what is there, for the end of "it has"."""
        if not self.entries:
            return "nothing"
        shown = ", ".join(self.entries[:_MOST])
        more = len(self.entries) - _MOST
        return f"only {shown}" + (f" and {more} more" if more > 0 else "")


def read_folder(path: Path) -> ModelFolder | None:
    """Look at a folder; None where there is none.

    Raises:
        OSError: it is there, but cannot be read.
    """
    if not path.is_dir():
        return None
    entries = sorted(path.iterdir())
    files = frozenset(
        entry.name
        for entry in entries
        if entry.is_file() and not entry.name.startswith(".")
    )
    return ModelFolder(path, files, tuple(map(_label, entries)))


def _label(entry: Path) -> str:
    if entry.is_dir():
        return f"{entry.name}/"
    return entry.name if entry.exists() else f"{entry.name} (a link to nothing)"


def _is_weights(name: str) -> bool:
    return name.endswith(_WEIGHTS) and not _NO_WEIGHTS.fullmatch(name)


def _is_left_out(name: str) -> bool:
    return name in _CODE or name.startswith(".")


def _snapshots(folder: Path) -> Iterator[Path]:
    if folder.name.startswith("models--"):
        yield from sorted(folder.glob("snapshots/*"))


def _has_model(path: Path) -> bool:
    try:
        folder = read_folder(path)
    except OSError:
        return False  # Such as lost+found.
    return folder is not None and folder.has_model
