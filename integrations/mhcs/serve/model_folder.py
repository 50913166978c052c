"""The contents of a model folder: whether it has a model or an adapter."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

_CONFIGS: Final = frozenset({"config.json", "params.json"})
_WEIGHTS: Final = (".bin", ".engine", ".gguf", ".pt", ".pth", ".safetensors")
#: Weight-like files that are not a model: a training's state, and adapter weights.
_NO_WEIGHTS: Final = re.compile(
    r"(adapter_model|optimizer|rng_state|scaler|scheduler|training_args)[._-].*"
)
_ADAPTER: Final = "adapter_config.json"
#: Subfolders that are never searched for a model.
_SKIPPED: Final = frozenset({"__pycache__", "adapters", "code", "lib", "requirements"})
#: Maximum number of names in a message.
_MAX_SHOWN: Final = 12


class ModelFolder(msgspec.Struct, frozen=True):
    """The contents of a model folder.

    Args:
        files: names of the regular files that are not hidden.
        entries: all names, as messages show them: folders end in ``/``.
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
        """Return the base model that an adapter's configuration names."""
        try:
            config = json.loads((self.path / _ADAPTER).read_bytes())
            base = config["base_model_name_or_path"]
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return base if isinstance(base, str) and base else None

    def inner_models(self) -> Iterator[Path]:
        """Yield subfolders with a model, including snapshots of a hub's cache."""
        for name in self.entries:
            if name.endswith("/") and not _is_skipped(name.rstrip("/")):
                inner = self.path / name
                for folder in (inner, *_snapshots(inner)):
                    if _has_model(folder):
                        yield folder

    def describe(self) -> str:
        """Return the contents in words, as the predicate of "the folder"."""
        if not self.entries:
            return "is empty"
        shown = ", ".join(self.entries[:_MAX_SHOWN])
        more = len(self.entries) - _MAX_SHOWN
        return f"has only {shown}" + (f" and {more} more" if more > 0 else "")


def read_folder(path: Path) -> ModelFolder | None:
    """Read a folder; None if it does not exist.

    Raises:
        OSError: the folder cannot be read.
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
    return entry.name if entry.exists() else f"{entry.name} (a broken link)"


def _is_weights(name: str) -> bool:
    return name.endswith(_WEIGHTS) and not _NO_WEIGHTS.fullmatch(name)


def _is_skipped(name: str) -> bool:
    return name in _SKIPPED or name.startswith(".")


def _snapshots(folder: Path) -> Iterator[Path]:
    if folder.name.startswith("models--"):
        yield from sorted(folder.glob("snapshots/*"))


def _has_model(path: Path) -> bool:
    try:
        folder = read_folder(path)
    except OSError:
        return False  # Unreadable, such as lost+found.
    return folder is not None and folder.has_model
