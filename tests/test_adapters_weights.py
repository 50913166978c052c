"""Weights that are damaged never get to an engine, which may end with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model_hosting_container_standards.exceptions import AdapterError
from model_hosting_container_standards.sagemaker.lora.weights import check_weights

SAFETENSORS = "adapter_model.safetensors"


def safetensors(header: Any, data: bytes = b"") -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + data


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
WHOLE = safetensors({"__metadata__": {"format": "pt"}, "a": TENSOR}, b"12345678")


@pytest.mark.parametrize("content", [WHOLE, safetensors({})])
def test_a_whole_file_is_good(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SAFETENSORS).write_bytes(content)
    check_weights(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        *(WHOLE[:length] for length in (0, 4, 8, 20, len(WHOLE) - 1)),
        WHOLE + b"1",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        safetensors(b"{"),
        safetensors(b"\xff"),
        safetensors([]),
        safetensors({"a": {**TENSOR, "data_offsets": "all"}}, b"12345678"),
        safetensors(b'{"a":' * 2000),
    ],
    ids=range(12),
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SAFETENSORS).write_bytes(content)
    with pytest.raises(AdapterError, match="is damaged: .* Copy it anew"):
        check_weights(tmp_path)


def test_other_formats_are_left_to_the_engine(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.bin").write_bytes(b"anything")
    check_weights(tmp_path)


def test_the_file_that_engines_take_first_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.bin").write_bytes(b"anything")
    (tmp_path / SAFETENSORS).write_bytes(b"half")
    with pytest.raises(AdapterError):
        check_weights(tmp_path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.bin").touch()
    with pytest.raises(AdapterError, match="is damaged: it is empty"):
        check_weights(tmp_path)


def test_no_file_is_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="has none of adapter_model.safetensors"):
        check_weights(tmp_path)
