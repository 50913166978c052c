"""Reading a model's modules from its checkpoint, in every storage format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from model_hosting_container_standards.adapters.base_model import (
    UNKNOWN,
    Checkpoint,
    LayerCount,
    Widths,
)
from model_hosting_container_standards.adapters.checkpoint import read_checkpoint
from safetensors_files import Stored, save, zeros

Q: Final = "model.layers.0.self_attn.q_proj"
WIDTHS: Final = Widths(128, 64)


# --- reading checkpoints --------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F8_E4M3"])
def test_widths_are_read_from_weights(tmp_path: Path, dtype: str) -> None:
    weight = zeros(64, 128, dtype=dtype)
    save(
        tmp_path / "model.safetensors", {f"{Q}.weight": weight, f"{Q}.bias": zeros(64)}
    )
    assert read_checkpoint(tmp_path) == {Q: WIDTHS}


@pytest.mark.parametrize(
    ("tensors", "widths"),
    [
        pytest.param(
            {
                "qweight": zeros(16, 64, dtype="I32"),
                "scales": zeros(1, 64, dtype="F16"),
                "g_idx": zeros(128, dtype="I32"),
            },
            WIDTHS,
            id="GPTQ",
        ),
        pytest.param(
            {
                "qweight": zeros(128, 8, dtype="I32"),
                "scales": zeros(1, 64, dtype="F16"),
            },
            Widths(None, 64),
            id="AWQ",
        ),
        pytest.param(
            {
                "weight_packed": zeros(64, 16, dtype="I32"),
                "weight_scale": zeros(64, 1, dtype="BF16"),
            },
            Widths(None, 64),
            id="compressed",
        ),
        pytest.param(
            {"weight": zeros(64, 64, dtype="U8"), "weight_scale": zeros(64, 8)},
            Widths(None, 64),
            id="NVFP4",
        ),
        pytest.param(
            {
                "weight": zeros(64, 128, dtype="F8_E4M3"),
                "weight_scale_inv": zeros(1, 1),
            },
            WIDTHS,
            id="FP8",
        ),
        pytest.param(
            {"weight": zeros(16, 128, dtype="U8"), "weight_scale": zeros(1)},
            UNKNOWN,
            id="packed by rows",
        ),
        pytest.param({"weight": zeros(4096, 1, dtype="U8")}, UNKNOWN, id="NF4"),
        pytest.param({"weight": zeros(4, 4, 4)}, UNKNOWN, id="convolution"),
        pytest.param({"qweight": zeros(16, 8, dtype="I32")}, UNKNOWN, id="no scales"),
    ],
)
def test_known_widths_are_read_from_quantised_weights(
    tmp_path: Path, tensors: dict[str, Stored], widths: Widths
) -> None:
    named = {f"{Q}.{kind}": tensor for kind, tensor in tensors.items()}
    save(tmp_path / "model.safetensors", named)
    assert read_checkpoint(tmp_path) == {Q: widths}


def test_consolidated_files_are_ignored(tmp_path: Path) -> None:
    save(tmp_path / "model-1.safetensors", {f"{Q}.weight": zeros(64, 128)})
    save(tmp_path / "model-2.safetensors", {"lm_head.weight": zeros(4, 128)})
    other = {"layers.0.attention.wq.weight": zeros(64, 128)}
    save(tmp_path / "consolidated.safetensors", other)
    assert read_checkpoint(tmp_path) == {Q: WIDTHS, "lm_head": Widths(128, 4)}


def test_torch_index_gives_module_names(tmp_path: Path) -> None:
    index = {"weight_map": {f"{Q}.weight": "pytorch_model-1.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert read_checkpoint(tmp_path) == {Q: UNKNOWN}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pytorch_model.bin", "anything"),
        ("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"),
        ("pytorch_model.bin.index.json", "{"),
        ("pytorch_model.bin.index.json", '{"weight_map": [1]}'),
        ("pytorch_model.bin.index.json", "[]"),
    ],
)
def test_unreadable_checkpoint_gives_no_modules(
    tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    assert read_checkpoint(tmp_path) is None
    assert read_checkpoint(tmp_path / name) is None
    assert read_checkpoint(tmp_path / "missing") is None


# --- finding modules ------------------------------------------------------------------

TEXT: Final = {
    f"model.layers.{layer}.{name}": WIDTHS
    for layer in range(2)
    for name in ("self_attn.q_proj", "mlp.experts.0.w1")
}
VISION: Final = {"vision_tower.layers.0.self_attn.q_proj": Widths(32, 32)}
HEADS: Final = {"lm_head": Widths(128, 512), "model.embed_tokens": Widths(128, 512)}


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        (Q, WIDTHS),
        ("model.layers.0.mlp.experts.0.w1", WIDTHS),
        ("model.layers.1.mlp.experts.7.w1", UNKNOWN),
        ("model.layers.1.block_sparse_moe.experts.base_layer", UNKNOWN),
        ("model.layers.2.mlp.experts.0.w1", None),
        ("model.layers.0.self_attn.z_proj", None),
        ("layers.0.self_attn.q_proj", None),
        ("x.model.layers.0.self_attn.q_proj", None),
        ("lm_head", UNKNOWN),
        ("model.embed_tokens", UNKNOWN),
        ("score", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_modules_are_found_by_name(name: str, widths: Any) -> None:
    model = Checkpoint({**TEXT, **HEADS})
    assert model.find(name) == widths


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("model.layers.0.mlp.experts.0.w1", WIDTHS),
        ("x.layers.0.mlp.experts.0.w1", WIDTHS),
        ("x.layers.0.mlp.experts.w1", UNKNOWN),
        # Ambiguous: text or vision.
        ("model.language_model.layers.0.self_attn.q_proj", UNKNOWN),
        ("layers.1.self_attn.q_proj", WIDTHS),
        ("model.layers.2.self_attn.q_proj", None),
        ("model.blocks.0.self_attn.q_proj", None),
    ],
)
def test_any_prefix_ignores_module_prefix(name: str, widths: Any) -> None:
    model = Checkpoint({**TEXT, **VISION}, any_prefix=True)
    assert model.find(name) == widths


def test_layer_count_checks_only_layer_numbers() -> None:
    model = LayerCount(2)
    assert model.find("model.layers.1.x") == model.find("lm_head") == UNKNOWN
    assert model.find("model.layers.2.x") is None
    assert "layers are 0 to 1" in model.missing("model.layers.2.x")
