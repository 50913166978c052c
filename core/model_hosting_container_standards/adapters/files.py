"""The folder an adapter is loaded from, as PEFT writes it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

import msgspec

from ..exceptions import AdapterError, AdapterNotFoundError
from .base_model import BaseModel
from .fit import check_fit
from .misplaced import CONFIG, not_an_adapter
from .weights import WEIGHTS, check_values, find_weights

#: Far more than any configuration has.
_LARGEST_CONFIG: Final = 1 << 20


def locate(src: Any, root: Path | None) -> Path:
    """Return where ``src`` really is. It may be relative to ``root``.

    Raises:
        AdapterError: it is no path, or not below ``root``.
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
    """Check that there is an adapter which the engine can apply as a whole.

    Args:
        base_model: returns the model it has to fit, None where nothing is known of it.
        values: read the weights too, not their header alone.

    Raises:
        AdapterNotFoundError: there is nothing.
        AdapterError: it is not an adapter, its rank is too high, or it does not fit the
            model.
    """
    try:
        if not (path / CONFIG).is_file():
            raise not_an_adapter(path)
        if root is not None:
            _check_links(path, root.resolve())
        ranks = _ranks(_config(path / CONFIG))
        _check_rank(path, max(ranks), max_rank)
        if (weights := find_weights(path)) is not None:
            check_fit(str(path), weights.tensors, ranks, base_model())
            if values:
                check_values(weights)
    except OSError as error:
        raise AdapterError(f"{str(path)!r} cannot be read: {error.strerror}.") from None


def has_files(path: str) -> bool:
    """Whether an engine that loads the adapter anew would find it."""
    # Strings: a Path takes four times as long.
    return os.path.exists(f"{path}/{CONFIG}") and any(  # noqa: PTH110
        os.path.exists(f"{path}/{name}")  # noqa: PTH110
        for name in WEIGHTS
    )


def _config(file: Path) -> dict[str, Any]:
    if file.stat().st_size > _LARGEST_CONFIG:
        raise AdapterError(
            f"{str(file)!r} is too large for an adapter's configuration."
        )
    try:
        config = msgspec.json.decode(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{str(file)!r} is no JSON: {error}.") from None
    if not isinstance(config, dict):
        raise AdapterError(f"{str(file)!r} is no JSON object.")
    return config


def _ranks(config: dict[str, Any]) -> Collection[int]:
    """Return the ranks that a configuration names: of all modules, and of some."""
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
