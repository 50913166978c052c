"""Checks of an adapter's folder, as PEFT writes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

import msgspec

from ..exceptions import AdapterError, AdapterNotFoundError
from .base_model import BaseModel
from .compatibility import check_fit
from .misplaced import CONFIG, not_an_adapter
from .weights import WEIGHTS, check_values, find_weights

#: Bytes; far more than any configuration needs.
_MAX_CONFIG_BYTES: Final = 1 << 20


def locate(src: Any, root: Path | None) -> Path:
    """Return the real path of ``src``, which may be relative to ``root``.

    Raises:
        AdapterError: it is not a path, or not below ``root``.
    """
    if not isinstance(src, str) or not src or "\0" in src:
        raise AdapterError("An adapter needs a src: the path of its folder.")
    try:
        src.encode()
        path = Path(root or "", src).resolve()
        if root is not None and not path.is_relative_to(root.resolve()):
            raise AdapterError(
                f"src {src!r} is not below {str(root)!r}, the only folder adapters "
                "may be loaded from (SAGEMAKER_ADAPTERS_ROOT)."
            )
    except (OSError, RuntimeError, UnicodeError) as error:
        raise AdapterNotFoundError(f"src {src!r} cannot be found: {error}.") from None
    return path


def check_folder(
    path: Path,
    root: Path | None,
    max_rank: int | None,
    base_model: Callable[[], BaseModel | None],
    *,
    values: bool = True,
) -> None:
    """Check that a folder holds an adapter that the engine can apply completely.

    Args:
        path: the real path of the folder.
        root: the only folder that its files may be in; None: any.
        max_rank: the highest rank that the engine accepts; None: unknown.
        base_model: returns the model that the adapter must fit; None: unknown.
        values: also read the weights, not only their header.

    Raises:
        AdapterNotFoundError: the folder does not exist.
        AdapterError: it is not an adapter, its rank is too high, or it does not fit the
            model.
    """
    try:
        if not (path / CONFIG).is_file():
            raise not_an_adapter(path)
        if root is not None:
            _check_links(path, root.resolve())
        ranks = _read_ranks(_read_config(path / CONFIG))
        _check_rank(path, max(ranks), max_rank)
        if (weights := find_weights(path)) is not None:
            check_fit(str(path), weights.tensors, ranks, base_model())
            if values:
                check_values(weights)
    except OSError as error:
        raise AdapterError(f"{str(path)!r} cannot be read: {error.strerror}.") from None


def has_files(path: str) -> bool:
    """Return whether an engine that reloads the adapter would find its files."""
    # Called for each request; a Path takes four times as long.
    return os.path.exists(f"{path}/{CONFIG}") and any(  # noqa: PTH110
        os.path.exists(f"{path}/{name}")  # noqa: PTH110
        for name in WEIGHTS
    )


def _read_config(file: Path) -> dict[str, Any]:
    if file.stat().st_size > _MAX_CONFIG_BYTES:
        raise AdapterError(
            f"{str(file)!r} is too large for an adapter's configuration."
        )
    try:
        config = msgspec.json.decode(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{str(file)!r} is not valid JSON: {error}.") from None
    if not isinstance(config, dict):
        raise AdapterError(f"{str(file)!r} is not a JSON object.")
    return config


def _read_ranks(config: dict[str, Any]) -> Collection[int]:
    """Return the ranks in a configuration: ``r``, and those of ``rank_pattern``."""
    pattern = config.get("rank_pattern") or {}
    ranks = [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else ())]
    if not all(type(rank) is int and rank > 0 for rank in ranks):
        raise AdapterError(f"{CONFIG} has no rank: 'r' must be a positive number.")
    return {rank for rank in ranks if isinstance(rank, int)}


def _check_rank(path: Path, rank: int, max_rank: int | None) -> None:
    if max_rank is not None and rank > max_rank:
        raise AdapterError(
            f"{str(path)!r} has rank {rank}; the engine takes ranks up to {max_rank}."
        )


def _check_links(path: Path, root: Path) -> None:
    for entry in path.iterdir():
        if not entry.resolve().is_relative_to(root):
            raise AdapterError(
                f"{str(entry)!r} is a link out of {str(root)!r}, the only folder "
                "adapters may be loaded from (SAGEMAKER_ADAPTERS_ROOT)."
            )
