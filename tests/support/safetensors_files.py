"""Read and write safetensors files without torch.

save(folder / "adapter_model.safetensors", lora({"model.layers.0.mlp": (4, 8)}))
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

ADAPTER: Final = "adapter_model.safetensors"
_SIZES: Final = {"F8_E4M3": 1, "F8_E5M2": 1, "BF16": 2, "F16": 2, "F64": 8, "U8": 1}


class Stored(NamedTuple):
    """A stored tensor; types that are not in ``_SIZES`` have 4 bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def zeros(*shape: int, dtype: str = "F32") -> Stored:
    return Stored(dtype, shape, bytes(math.prod(shape) * _SIZES.get(dtype, 4)))


def lora(
    modules: Mapping[str, tuple[int, int]],
    rank: int = 8,
    prefix: str = "base_model.model.",
    dtype: str = "F32",
) -> dict[str, Stored]:
    """Return an adapter's tensors; ``modules`` maps names to (inputs, outputs)."""
    return {
        f"{prefix}{name}.lora_{half}.weight": zeros(*shape, dtype=dtype)
        for name, (inputs, outputs) in modules.items()
        for half, shape in (("A", (rank, inputs)), ("B", (outputs, rank)))
    }


def save(path: Path, tensors: Mapping[str, Stored]) -> None:
    header, end = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        offsets = end, end + len(data)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        end += len(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(header, (tensor.data for tensor in tensors.values())))


def encode(header: object, data: Iterable[bytes] = ()) -> bytes:
    """Return a file's bytes; a header of bytes is written unchanged."""
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + b"".join(data)


def load(path: Path) -> dict[str, Stored]:
    raw = path.read_bytes()
    begin = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:begin])
    header.pop("__metadata__", None)
    return {
        name: Stored(
            entry["dtype"],
            tuple(entry["shape"]),
            raw[begin + entry["data_offsets"][0] : begin + entry["data_offsets"][1]],
        )
        for name, entry in header.items()
    }
