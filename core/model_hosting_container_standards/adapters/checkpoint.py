"""The modules of a checkpoint in safetensors files, as the headers tell of them."""

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
#: Official checkpoints of Mistral have all weights twice, here by names of their own.
_OTHER_NAMES: Final = "consolidated"
_FLOATS: Final = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})


def read_checkpoint(folder: Path) -> Mapping[str, Widths] | None:
    """Return the modules of a model's folder, None if they cannot be told.

    Where weights are quantised, a module may have a width that is not known, or two. Of
    files for torch alone, an index tells the names.
    """
    with contextlib.suppress(OSError, ValueError):
        files = [
            file
            for file in sorted(folder.glob(_FILES))
            if not file.name.startswith(_OTHER_NAMES)
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
    """Return the widths that a module's tensors tell, in the layouts of quantisations.

    That of compressed weights is ``[outputs, less]``, of GPTQ and AWQ ``[less, less]``.
    """
    weight = tensors.get("weight") or tensors.get("weight_packed")
    if weight is not None and weight.dtype in _FLOATS and len(weight.shape) == 2:
        return Widths(weight.shape[1], weight.shape[0])
    scales = tensors.get("weight_scale")
    if weight is not None and scales is not None:
        is_for_each = len(weight.shape) == 2 and weight.shape[:1] == scales.shape[:1]
        return Widths(None, weight.shape[0]) if is_for_each else UNKNOWN
    if "qweight" in tensors:
        return Widths(_last(tensors.get("g_idx")), _last(tensors.get("scales")))
    return UNKNOWN


def _last(tensor: Tensor | None) -> int | None:
    return tensor.shape[-1] if tensor is not None and tensor.shape else None


class _Index(msgspec.Struct):
    """Names of tensors, and the files they are in."""

    weight_map: Mapping[str, str]
