"""Reads a checkpoint's modules and widths from the headers of its safetensors files."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from .base_model import UNKNOWN, Widths
from .tensors import Tensor, read_header

_FILES: Final = "*.safetensors"
_INDEXES: Final = "*.bin.index.json"
#: Mistral's checkpoints hold all weights twice; these files use other module names.
_DUPLICATES: Final = "consolidated"
_FLOATS: Final = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})


def read_checkpoint(folder: Path) -> Mapping[str, Widths] | None:
    """Return the modules of a model's folder; None if they are unknown.

    Quantised modules may have unknown widths. Of a checkpoint in PyTorch's own format,
    only the names are read, from its index.
    """
    with contextlib.suppress(OSError, ValueError):
        files = [
            file
            for file in sorted(folder.glob(_FILES))
            if not file.name.startswith(_DUPLICATES)
        ]
        if files:
            return _modules(files)
        names = [
            name
            for file in folder.glob(_INDEXES)
            for name in msgspec.json.decode(file.read_bytes(), type=_Index).weight_map
        ]
        return {name.rpartition(".")[0]: UNKNOWN for name in names} or None
    return None


def _modules(files: list[Path]) -> Mapping[str, Widths]:
    modules: dict[str, dict[str, Tensor]] = {}
    for file in files:
        for name, tensor in read_header(file).items():
            module, _, kind = name.rpartition(".")
            modules.setdefault(module, {})[kind] = tensor
    return {module: _widths(tensors) for module, tensors in modules.items()}


def _widths(tensors: Mapping[str, Tensor]) -> Widths:
    """Return the widths of a module from the shapes of its tensors.

    Compressed weights have the shape ``[outputs, packed]``, those of GPTQ and AWQ
    ``[packed, packed]``.
    """
    weight = tensors.get("weight") or tensors.get("weight_packed")
    if weight is not None and weight.dtype in _FLOATS and len(weight.shape) == 2:
        return Widths(weight.shape[1], weight.shape[0])
    scales = tensors.get("weight_scale")
    if weight is not None and scales is not None:
        per_output = len(weight.shape) == 2 and weight.shape[:1] == scales.shape[:1]
        return Widths(None, weight.shape[0]) if per_output else UNKNOWN
    if "qweight" in tensors:
        return Widths(
            _last_dimension(tensors.get("g_idx")),
            _last_dimension(tensors.get("scales")),
        )
    return UNKNOWN


def _last_dimension(tensor: Tensor | None) -> int | None:
    return tensor.shape[-1] if tensor is not None and tensor.shape else None


class _Index(msgspec.Struct):
    """A checkpoint's index: tensor names, and the files that hold them."""

    weight_map: Mapping[str, str]
