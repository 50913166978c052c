"""Checks an adapter's weights file: present, complete, and of finite numbers.

An engine may crash when it loads a damaged file, and then fails all its requests.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from ..exceptions import AdapterError
from .finite_weights import not_finite
from .tensors import Tensor, printable, read_header

SAFETENSORS: Final = "adapter_model.safetensors"
#: In the order in which engines try them.
WEIGHTS: Final = (SAFETENSORS, "adapter_model.bin", "adapter_model.pt")
#: How many tensors an error names.
_MAX_NAMED: Final = 3


class Weights(NamedTuple):
    """A safetensors file, and its tensors by name."""

    file: Path
    tensors: Mapping[str, Tensor]


def find_weights(folder: Path) -> Weights | None:
    """Return the weights in a folder; None: they are not in safetensors format.

    Raises:
        AdapterError: they do not exist, or the file is damaged.
        OSError: the file cannot be read.
    """
    file = next((folder / n for n in WEIGHTS if (folder / n).is_file()), None)
    if file is None:
        raise AdapterError(
            f"{str(folder)!r} is not an adapter: it must contain one of "
            f"{', '.join(WEIGHTS)}."
        )
    if file.stat().st_size == 0:
        raise _damaged_error(file)
    if file.name != SAFETENSORS:
        return None
    try:
        return Weights(file, read_header(file))
    except ValueError:
        raise _damaged_error(file) from None


def check_values(weights: Weights) -> None:
    """Check that all weights are finite numbers.

    Raises:
        AdapterError: some are not.
        OSError: they cannot be read.
    """
    names = [printable(n) for n in itertools.islice(not_finite(*weights), _MAX_NAMED)]
    if names:
        raise AdapterError(
            f"{str(weights.file)!r} has weights that are not finite numbers (NaN or "
            f"infinite), which would corrupt other answers too: {', '.join(names)}. "
            "Export an earlier checkpoint."
        )


def _damaged_error(file: Path) -> AdapterError:
    return AdapterError(
        f"{str(file)!r} is damaged: it is empty, truncated, or not in this format. "
        "Copy it again."
    )
