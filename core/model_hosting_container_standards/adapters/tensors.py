"""Reads the header of a safetensors file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

#: A file begins with the length of its header, in this many bytes.
_LENGTH_BYTES: Final = 8
#: Bytes; the limit of the safetensors format.
_MAX_HEADER_BYTES: Final = 100_000_000
_METADATA: Final = "__metadata__"
_MAX_SHOWN_LENGTH: Final = 200
#: Bytes of an element; the sizes of other types are not checked.
_SIZES: Final = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2,
    "I16": 2, "U16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


class Tensor(msgspec.Struct, frozen=True):
    """A tensor; its values are the bytes ``begin`` to ``end`` of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class _Entry(msgspec.Struct):
    """A tensor's entry in the header; its offsets count from the header's end."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def read_header(file: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a safetensors file by name, in the file's order.

    Raises:
        ValueError: it is not a safetensors file, or it is truncated.
        OSError: it cannot be read.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(_LENGTH_BYTES), "little")
        data = _LENGTH_BYTES + length
        if length > _MAX_HEADER_BYTES or data > size:
            raise ValueError("the header is longer than the file")
        header = opened.read(length)
    tensors = {
        name: _to_tensor(entry, data) for name, entry in _decode_header(header).items()
    }
    if max((tensor.end for tensor in tensors.values()), default=data) != size:
        raise ValueError("the file does not end with its last tensor")
    return tensors


def printable(text: str) -> str:
    """Return text from a file, escaped and shortened for an error message."""
    return ascii(text[:_MAX_SHOWN_LENGTH])[1:-1]


def _decode_header(header: bytes) -> dict[str, _Entry]:
    try:
        document = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        document.pop(_METADATA, None)
        return {
            name: msgspec.json.decode(entry, type=_Entry)
            for name, entry in document.items()
        }
    except RecursionError as error:
        raise ValueError("the header is nested too deeply") from error


def _to_tensor(entry: _Entry, data: int) -> Tensor:
    begin, end = entry.data_offsets
    size = _SIZES.get(entry.dtype)
    if not 0 <= begin <= end or min(entry.shape, default=0) < 0:
        raise ValueError("a tensor's offsets or shape are invalid")
    if size is not None and end - begin != size * math.prod(entry.shape):
        raise ValueError("a tensor's shape does not match its number of bytes")
    return Tensor(entry.dtype, entry.shape, data + begin, data + end)
