"""Damaged weights never reach the engine, which they might crash."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from model_hosting_container_standards.adapters import finite_weights
from model_hosting_container_standards.adapters.weights import (
    Weights,
    check_values,
    find_weights,
)
from model_hosting_container_standards.exceptions import AdapterError
from safetensors_files import ADAPTER, Stored, encode, save

TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
DATA = [b"12345678"]
METADATA = {"__metadata__": {"format": "pt", "shape": "any"}}
WHOLE = encode({**METADATA, "a": TENSOR}, DATA)


def write(folder: Path, content: bytes) -> None:
    (folder / ADAPTER).write_bytes(content)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (WHOLE, ["a"]),
        (encode({}), []),
        (encode({"a": {**TENSOR, "dtype": "F7"}}, DATA), ["a"]),
        (encode({"a": {**TENSOR, "shape": [], "dtype": "F64"}}, DATA), ["a"]),
    ],
)
def test_valid_file_is_accepted(
    tmp_path: Path, content: bytes, names: list[str]
) -> None:
    write(tmp_path, content)
    weights = find_weights(tmp_path)
    assert weights is not None
    assert (weights.file, [*weights.tensors]) == (tmp_path / ADAPTER, names)


@pytest.mark.parametrize(
    "content",
    [
        *(WHOLE[:length] for length in (0, 4, 8, 20, len(WHOLE) - 1)),
        WHOLE + b"1",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        encode(b"{"),
        encode(b"\xff"),
        encode([]),
        encode({"a": {**TENSOR, "data_offsets": "all"}}, DATA),
        encode({"a": {**TENSOR, "data_offsets": [-8, 8]}}, DATA),
        encode({"a": {**TENSOR, "data_offsets": [8, 0]}}, DATA),
        encode({"a": {**TENSOR, "shape": [-1, -2]}}, DATA),
        encode({"a": {**TENSOR, "shape": [3]}}, DATA),
        encode({"a": {**TENSOR, "shape": 2}}, DATA),
        encode({"a": 1}, DATA),
        encode(b'{"a":' * 2000),
        encode(b'{"__metadata__":' * 200_000),
    ],
    ids=range(19),
)
def test_damaged_file_is_rejected(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, content)
    with pytest.raises(AdapterError, match="is damaged: .* Copy it again"):
        find_weights(tmp_path)


def test_other_formats_are_left_to_engine(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.bin").write_bytes(b"anything")
    assert find_weights(tmp_path) is None


def test_safetensors_file_is_checked_before_bin_file(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.bin").write_bytes(b"anything")
    write(tmp_path, b"half")
    with pytest.raises(AdapterError):
        find_weights(tmp_path)


def test_empty_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.bin").touch()
    with pytest.raises(AdapterError, match="is damaged: it is empty"):
        find_weights(tmp_path)


def test_missing_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(
        AdapterError, match="must contain one of adapter_model.safetensors"
    ):
        find_weights(tmp_path)


# --- NaN and infinity -----------------------------------------------------------------

#: Little-endian bytes of each type: the largest value and a small one.
FINITE = {
    "F64": (struct.pack("<d", sys.float_info.max), struct.pack("<d", -5e-324)),
    "F32": (b"\xff\xff\x7f\xff", b"\x01\x00\x00\x00"),
    "F16": (b"\xff\xfb", b"\x01\x00"),
    "BF16": (b"\x7f\xff", b"\x01\x00"),
    "F8_E4M3": (b"\xfe", b"\x01"),
    "F8_E5M2": (b"\x7b", b"\x81"),
}
NON_FINITE = {
    "F64": (struct.pack("<d", float("nan")), struct.pack("<d", float("-inf"))),
    "F32": (struct.pack("<f", float("nan")), struct.pack("<f", float("-inf"))),
    "F16": (struct.pack("<e", float("nan")), struct.pack("<e", float("-inf"))),
    "BF16": (b"\xc0\x7f", b"\x80\xff"),
    "F8_E4M3": (b"\x7f", b"\xff"),
    "F8_E5M2": (b"\x7d", b"\xfc"),
}
SIZE = 100


def weights_of(folder: Path, **tensors: Stored) -> Weights:
    save(folder / ADAPTER, tensors)
    weights = find_weights(folder)
    assert weights is not None
    return weights


def tensor(dtype: str, *values: bytes) -> Stored:
    """Return zeros with these values in the middle."""
    zero = bytes(len(values[0]))
    data = zero * SIZE + b"".join(values) + zero * SIZE
    return Stored(dtype, (len(data) // len(zero),), data)


@pytest.fixture(params=[finite_weights._CHUNK, 8], ids=["one chunk", "several chunks"])
def _chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finite_weights, "_CHUNK", request.param)


@pytest.mark.usefixtures("_chunk")
@pytest.mark.parametrize("dtype", FINITE)
def test_finite_values_of_every_type_are_accepted(tmp_path: Path, dtype: str) -> None:
    check_values(weights_of(tmp_path, a=tensor(dtype, *FINITE[dtype])))


@pytest.mark.usefixtures("_chunk")
@pytest.mark.parametrize("kind", [0, 1], ids=["NaN", "infinity"])
@pytest.mark.parametrize("dtype", NON_FINITE)
def test_tensors_with_nan_or_inf_are_rejected_by_name(
    tmp_path: Path, dtype: str, kind: int
) -> None:
    pytest.importorskip("numpy")
    bad = tensor(dtype, NON_FINITE[dtype][kind])
    good = tensor("F32", *FINITE["F32"])
    weights = weights_of(tmp_path, good=good, one=bad, fine=good, two=bad)
    with pytest.raises(AdapterError, match="not finite .*: one, two[.]"):
        check_values(weights)


def test_error_names_a_few_tensors(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    bad = tensor("F16", *NON_FINITE["F16"])
    weights = weights_of(tmp_path, **dict.fromkeys(["a", "b", "c\n", "d", "e"], bad))
    with pytest.raises(AdapterError, match=r": a, b, c\\n[.]"):
        check_values(weights)


def test_integer_and_empty_tensors_are_not_checked(tmp_path: Path) -> None:
    ones = Stored("I32", (2,), b"\xff" * 8)
    check_values(weights_of(tmp_path, a=ones, b=Stored("F32", (0, 4), b"")))


def test_values_are_not_checked_without_numpy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    check_values(weights_of(tmp_path, a=tensor("F16", *NON_FINITE["F16"])))


def test_file_truncated_while_reading_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    weights = weights_of(tmp_path, a=tensor("F32", *FINITE["F32"]))
    write(tmp_path, b"short")
    with pytest.raises(OSError, match="truncated"):
        check_values(weights)
