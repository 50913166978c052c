"""Finds weights that are NaN or infinite.

In one adapter they corrupt other requests too: the engine's kernels multiply the
adapters that a request does not use by zero, and zero times NaN is NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from .tensors import Tensor

#: Bytes that are checked at once.
_CHUNK: Final = 1 << 22
#: An integer type of the same size, and the bits that are all set only in non-finite
#: values.
_NOT_FINITE: Final = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F8_E5M2": ("<u1", 0x7C),
    "F8_E4M3": ("<u1", 0x7F),
}


def not_finite(file: Path, tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """Yield the names of tensors with NaN or infinite values; none without numpy.

    The file is read in pieces, not memory-mapped: truncating a mapped file would kill
    the process (SIGBUS).

    Raises:
        OSError: the file cannot be read.
    """
    try:
        import numpy
    except ImportError:
        return
    buffer = memoryview(bytearray(_CHUNK))
    with file.open("rb") as opened:
        for name, tensor in tensors.items():
            kind, bits = _NOT_FINITE.get(tensor.dtype, (None, 0))
            pieces = _read_pieces(opened, tensor, buffer) if kind else ()
            if any(
                _has_all_bits(numpy.frombuffer(piece, kind), bits) for piece in pieces
            ):
                yield name


def _has_all_bits(values: Any, bits: int) -> bool:
    return bool(((values & bits) == bits).any())


def _read_pieces(
    opened: BufferedReader, tensor: Tensor, buffer: memoryview
) -> Iterator[memoryview]:
    """Yield a tensor's bytes in pieces; all of them share ``buffer``."""
    opened.seek(tensor.begin)
    remaining = tensor.end - tensor.begin
    while remaining:
        piece = buffer[: min(remaining, len(buffer))]
        if opened.readinto(piece) != len(piece):
            raise OSError(0, "it was truncated while it was read")
        remaining -= len(piece)
        yield piece
