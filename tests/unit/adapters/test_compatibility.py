"""An adapter fits the model completely, or is rejected with the names that do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi.testclient import TestClient

from adapter_engine import AdapterEngine, app_of, write_adapter
from model_hosting_container_standards.adapters.base_model import (
    Checkpoint,
    LayerCount,
    Widths,
)
from safetensors_files import ADAPTER, Stored, lora, save, zeros

HIDDEN: Final = 128
RANK: Final = 8
ATTENTION: Final = {"q_proj": (HIDDEN, HIDDEN), "v_proj": (HIDDEN, 64)}
MODULES: Final = {
    f"model.layers.{layer}.self_attn.{name}": widths
    for layer in range(2)
    for name, widths in ATTENTION.items()
}
TENSORS: Final = lora(MODULES)
FIRST: Final = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
MODEL: Final = Checkpoint(
    {
        **{name: Widths(*widths) for name, widths in MODULES.items()},
        "model.layers.0.mlp.experts.0.gate_proj": Widths(HIDDEN, 32),
        "model.embed_tokens": Widths(HIDDEN, 512),
        "lm_head": Widths(HIDDEN, 512),
    }
)


def write(folder: Path, tensors: Mapping[str, Stored], **config: Any) -> str:
    """Write an adapter with these tensors, and a text for the test engine."""
    src = write_adapter(folder, "text", **{"r": RANK, **config})
    save(folder / ADAPTER, tensors)
    return src


@pytest.fixture
def engine(tmp_path: Path) -> AdapterEngine:
    engine = AdapterEngine(tmp_path / "engine", max_rank=64)
    engine.model = MODEL
    return engine


@pytest.fixture
def post(client: TestClient, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that registers an adapter with the given tensors."""

    def register(
        tensors: Mapping[str, Stored], preload: bool = True, **config: Any
    ) -> Any:
        src = write(tmp_path / "a", tensors, **config)
        body = {"name": "a", "src": src, "preload": preload}
        return client.post("/adapters", json=body)

    return register


def renamed(old: str, new: str) -> dict[str, Stored]:
    return {name.replace(old, new): tensor for name, tensor in TENSORS.items()}


def changed(name: str, tensor: Stored) -> dict[str, Stored]:
    assert name in TENSORS
    return {**TENSORS, name: tensor}


# --- rejected -------------------------------------------------------------------------

WITH_HALF: Final = {**TENSORS, **renamed("model.layers", "model.decoder.layers")}


@pytest.mark.parametrize("preload", [True, False])
@pytest.mark.parametrize(
    ("tensors", "count", "first", "reason"),
    [
        pytest.param(
            renamed("model.layers", "model.language_model.layers"),
            "8 of 8",
            FIRST.replace("model.layers", "model.language_model.layers"),
            "the model has no model.language_model.layers.0.self_attn.q_proj, but "
            "model.layers.0.self_attn.q_proj",
            id="prefix",
        ),
        pytest.param(
            renamed("model.layers", "layers"),
            "8 of 8",
            FIRST.replace("model.layers", "layers"),
            "the model has no layers.0.self_attn.q_proj, but",
            id="no prefix",
        ),
        pytest.param(
            renamed("layers.1.", "layers.7."),
            "4 of 8",
            FIRST.replace("layers.0.", "layers.7."),
            "the model has no model.layers.7.self_attn.q_proj: its layers are 0 to 1",
            id="layers",
        ),
        pytest.param(
            renamed(".self_attn.", ".attention."),
            "8 of 8",
            FIRST.replace(".self_attn.", ".attention."),
            "the model has no model.layers.0.attention.q_proj",
            id="modules",
        ),
        pytest.param(
            lora(dict.fromkeys(MODULES, (64, 64))),
            "6 of 8",
            FIRST,
            "its width is 64, but the model's is 128",
            id="narrower",
        ),
        pytest.param(
            changed(FIRST, zeros(RANK, 256)),
            "1 of 8",
            FIRST,
            "its width is 256, but the model's is 128",
            id="wider",
        ),
        pytest.param(
            WITH_HALF,
            "8 of 16",
            FIRST.replace("model.layers", "model.decoder.layers"),
            "the model has no model.decoder.layers.0.self_attn.q_proj, but model.",
            id="half",
        ),
        pytest.param(
            {name: t for name, t in TENSORS.items() if name != FIRST},
            "1 of 7",
            FIRST.replace("lora_A", "lora_B"),
            "its lora_A is missing",
            id="without lora_A",
        ),
        pytest.param(
            changed(FIRST, zeros(4, HIDDEN)),
            "1 of 8",
            FIRST.replace("lora_A", "lora_B"),
            "its rank is 8, but that of lora_A is 4",
            id="ranks",
        ),
        pytest.param(
            lora(MODULES, rank=16),
            "4 of 8",
            FIRST,
            "its rank is 16, but adapter_config.json says 8",
            id="another rank",
        ),
    ],
)
def test_incompatible_adapter_is_rejected_with_first_names(
    engine: AdapterEngine,
    post: Callable[..., Any],
    tensors: dict[str, Stored],
    count: str,
    first: str,
    reason: str,
    preload: bool,
) -> None:
    answer = post(tensors, preload)
    assert answer.status_code == 400
    detail = answer.json()["detail"]
    assert f" in {count} tensors: {first}: {reason}" in detail
    assert engine.calls == []


def test_overlong_layer_number_is_rejected(post: Callable[..., Any]) -> None:
    # More digits than int() accepts.
    detail = post(renamed("layers.1.", f"layers.{'1' * 5000}.")).json()["detail"]
    assert " in 4 of 8 tensors: base_model.model.model.layers.11111" in detail
    assert len(detail) < 2000


def test_error_is_one_line_for_any_tensor_name(
    post: Callable[..., Any],
) -> None:
    detail = post(renamed("q_proj", "q\nERROR: proj\x7f")).json()["detail"]
    assert "q\\nERROR: proj\\x7f.lora_A.weight" in detail
    assert detail.isprintable()


def test_error_names_three_modules(post: Callable[..., Any]) -> None:
    detail = post(lora(dict.fromkeys(MODULES, (64, 32)))).json()["detail"]
    assert [name for name in TENSORS if name in detail] == [*TENSORS][:3]
    assert "; and 5 more. " in detail
    # Both LoRA matrices of a missing module are one error.
    unknown = renamed("model.layers", "x.layers")
    detail = post(unknown).json()["detail"]
    assert [name for name in unknown if name in detail] == [*unknown][:6:2]
    assert " in 8 of 8 tensors: " in detail
    assert "; and 5 more. " in detail
    detail = post(changed(FIRST, zeros(4, HIDDEN))).json()["detail"]
    assert "more" not in detail


@pytest.mark.parametrize(
    "tensors",
    [{}, {"base_model.model.model.layers.0.self_attn.q_proj.weight": zeros(4, 4)}],
)
def test_adapter_without_lora_tensors_is_rejected(
    engine: AdapterEngine, post: Callable[..., Any], tensors: dict[str, Stored]
) -> None:
    answer = post(tensors)
    assert answer.status_code == 400
    assert "is not a LoRA adapter" in answer.json()["detail"]
    assert engine.calls == []


def test_infinite_weights_never_reach_engine(
    engine: AdapterEngine, post: Callable[..., Any]
) -> None:
    pytest.importorskip("numpy")
    infinite = Stored("F32", (RANK, HIDDEN), b"\0\0\x80\x7f" * RANK * HIDDEN)
    answer = post(changed(FIRST, infinite))
    assert answer.status_code == 400
    assert "not finite numbers (NaN or infinite)" in answer.json()["detail"]
    assert FIRST in answer.json()["detail"]
    assert engine.calls == []


def test_adapter_that_no_longer_fits_fails_at_restart(
    engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    body = {"name": "a", "src": write(tmp_path / "a", TENSORS)}
    with TestClient(app_of(engine, monkeypatch)) as client:
        assert client.post("/adapters", json=body).status_code == 200
    engine.start_anew()
    engine.model = LayerCount(1)
    with TestClient(app_of(engine, monkeypatch)) as client:
        shown = client.get("/adapters/a").json()
    assert shown["status"] == "failed"
    assert "its layers are 0 to 0" in shown["reason"]
    assert engine.calls == []


# --- accepted -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensors", "config"),
    [
        pytest.param(TENSORS, {}, id="whole"),
        pytest.param(TENSORS, {"use_rslora": True, "lora_alpha": 1}, id="rslora"),
        pytest.param(
            lora({name: MODULES[name] for name in [*MODULES][:1]}), {}, id="one module"
        ),
        pytest.param(
            {
                **lora({name: w for name, w in MODULES.items() if "q_proj" in name}),
                **lora({n: w for n, w in MODULES.items() if "v_proj" in n}, rank=16),
            },
            {"rank_pattern": {"v_proj": 16}},
            id="rank_pattern",
        ),
        pytest.param(lora(MODULES, prefix=""), {}, id="without PEFT's prefix"),
        pytest.param(
            lora(MODULES, prefix="base_model.model.base_model.model."), {}, id="twice"
        ),
        *(
            pytest.param(lora(MODULES, dtype=dtype), {}, id=dtype)
            for dtype in ("F32", "F16", "BF16")
        ),
        pytest.param(renamed(".weight", ".default.weight"), {}, id="default"),
        pytest.param(
            {
                **TENSORS,
                "base_model.model.model.embed_tokens.lora_embedding_A": zeros(8, 500),
                "base_model.model.model.embed_tokens.lora_embedding_B": zeros(128, 8),
                **lora({"lm_head": (HIDDEN, 500), "score": (HIDDEN, 2)}),
            },
            {},
            id="vocabulary",
        ),
        pytest.param(
            {
                **TENSORS,
                "base_model.model.lm_head.weight": zeros(512, HIDDEN),
                FIRST.replace("lora_A.weight", "lora_magnitude_vector"): zeros(HIDDEN),
                FIRST.replace("lora_A.weight", "lora_B.bias"): zeros(HIDDEN),
            },
            {},
            id="more than lora",
        ),
        pytest.param(
            {
                **lora({"model.layers.0.mlp.experts.0.gate_proj": (HIDDEN, 32)}),
                **lora({"model.layers.1.mlp.experts.base_layer": (HIDDEN, 64)}, 16),
                "base_model.model.model.layers.1.mlp.experts.w1.lora_A.weight": zeros(
                    4, 8, HIDDEN
                ),
                "base_model.model.model.layers.1.mlp.experts.w1.lora_B.weight": zeros(
                    4, 32, 8
                ),
            },
            {},
            id="experts",
        ),
        pytest.param(
            lora(
                {name: (outputs, inputs) for name, (inputs, outputs) in MODULES.items()}
            ),
            {"fan_in_fan_out": True},
            id="transposed",
        ),
    ],
)
def test_compatible_adapter_is_loaded(
    engine: AdapterEngine,
    post: Callable[..., Any],
    tensors: dict[str, Stored],
    config: dict[str, Any],
) -> None:
    answer = post(tensors, **config)
    assert (answer.status_code, engine.calls) == (200, ["load a"]), answer.text


def test_engine_decides_if_model_is_unknown(
    engine: AdapterEngine, post: Callable[..., Any]
) -> None:
    engine.model = None
    assert post(renamed("model.layers", "x.layers")).status_code == 200
    assert post(changed(FIRST, zeros(4, HIDDEN))).status_code == 200  # Registered.
