"""The file of an adapter's weights: whether it is there, and whole.

An engine may end with a file that is not, and every request it is answering with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from ...exceptions import AdapterError

SAFETENSORS: Final = "adapter_model.safetensors"
#: In the order in which engines look for them.
WEIGHTS: Final = (SAFETENSORS, "adapter_model.bin", "adapter_model.pt")
#: Safetensors files begin with the length of their header, and take no longer one.
_LENGTH_BYTES: Final = 8
_LONGEST_HEADER: Final = 100_000_000


def check_weights(folder: Path) -> None:
    """Check that a folder has weights, as far as can be seen without reading them all.

    Raises:
        AdapterError: it has none, or the file is damaged.
        OSError: it cannot be read.
    """
    found = next((folder / n for n in WEIGHTS if (folder / n).is_file()), None)
    if found is None:
        raise AdapterError(
            f"{str(folder)!r} is no adapter: it has none of {', '.join(WEIGHTS)}."
        )
    if not _is_whole(found):
        raise AdapterError(
            f"{str(found)!r} is damaged: it is empty, a part of a file, or something "
            "else. Copy it anew."
        )


def _is_whole(file: Path) -> bool:
    """Whether a file has something, and its header fits its size if it has one."""
    size = file.stat().st_size
    if file.name != SAFETENSORS:
        return size > 0
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(_LENGTH_BYTES), "little")
        if length > min(size - _LENGTH_BYTES, _LONGEST_HEADER):
            return False
        header = opened.read(length)
    try:
        tensors = msgspec.json.decode(header, type=dict[str, _Tensor])
    except (ValueError, RecursionError):
        return False
    end = max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    return _LENGTH_BYTES + length + end == size


class _Tensor(msgspec.Struct):
    """What the header says of a tensor; its metadata, of which it says nothing."""

    data_offsets: tuple[int, int] = (0, 0)
