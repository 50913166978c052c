"""Values of weights that are not finite numbers.

Those of one adapter spoil what an engine answers without it: its kernels multiply by
zero what a request does not use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from .tensors import Tensor

#: Bytes that are looked at in one go.
_CHUNK: Final = 1 << 22
#: Integers of each type's size, and the bits that are all set in no finite number.
_NOT_FINITE: Final = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F8_E5M2": ("<u1", 0x7C),
    "F8_E4M3": ("<u1", 0x7F),
}


def not_finite(file: Path, tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """Yield the tensors of a file that have a NaN or an infinity; none without numpy.

    The file is read into one buffer, piece by piece. It is not mapped: a process that
    has mapped a file dies when the file is cut off meanwhile.

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
            pieces = _pieces(opened, tensor, buffer) if kind else ()
            if any(_has_all(numpy.frombuffer(piece, kind), bits) for piece in pieces):
                yield name


def _has_all(values: Any, bits: int) -> bool:
    return bool(((values & bits) == bits).any())


def _pieces(
    opened: BufferedReader, tensor: Tensor, buffer: memoryview
) -> Iterator[memoryview]:
    """Yield a tensor's bytes; each piece is gone when the next one is asked for."""
    opened.seek(tensor.begin)
    left = tensor.end - tensor.begin
    while left:
        piece = buffer[: min(left, len(buffer))]
        if opened.readinto(piece) != len(piece):
            raise OSError(0, "it became shorter while it was read")
        left -= len(piece)
        yield piece
