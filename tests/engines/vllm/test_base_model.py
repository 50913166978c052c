"""The base model of a vLLM server: modules of its checkpoint and of its class.

The classes are stand-ins; tests/engines/real_vllm loads adapters into real ones.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final

import pytest
from fastapi import FastAPI

from mhcs.vllm.adapters import VLLMAdapters
from mhcs.vllm.base_model import VLLMModel, read_base_model
from model_hosting_container_standards.adapters.base_model import (
    UNKNOWN,
    LayerCount,
    Widths,
)
from safetensors_files import save, zeros

LOADER: Final = "vllm.model_executor.model_loader.utils"
WIDTHS: Final = Widths(128, 64)
Q: Final = "layers.0.self_attn.q_proj"
TEXT: Final = {f"model.{Q}": WIDTHS, "model.layers.0.mlp.gate_up_proj": WIDTHS}


class Mapper:
    """Renames by prefix, like a ``WeightsMapper`` before 0.20."""

    def __init__(self, **prefixes: str | None) -> None:
        self._prefixes = prefixes

    def _map_name(self, name: str) -> str | None:
        assert name.endswith(".weight")
        first, dot, rest = name.partition(".")
        new = self._prefixes.get(first, first)
        return None if new is None else f"{new}{dot}{rest}"


class NewMapper(Mapper):
    def get_rename_mapper(self) -> Mapper:
        return Mapper(**{k: v for k, v in self._prefixes.items() if v is not None})


def config(**fields: Any) -> Any:
    """Return a ``ModelConfig`` of a model that generates text."""
    whole = SimpleNamespace(num_hidden_layers=2)
    known = {"hf_config": whole, "hf_text_config": whole, "runner_type": "generate"}
    return SimpleNamespace(**{"model": "org/m", "revision": None, **known, **fields})


def config_of_vllm(download_dir: Path | None = None, **fields: Any) -> Any:
    load_config = SimpleNamespace(download_dir=download_dir)
    return SimpleNamespace(model_config=config(**fields), load_config=load_config)


@pytest.fixture
def model_class(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that sets the attributes of the model's class."""

    def give(**attributes: Any) -> None:
        parts = LOADER.split(".")
        for end in range(1, len(parts)):
            name = ".".join(parts[:end])
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        loader: Any = ModuleType(LOADER)
        model = type("Model", (), attributes)
        loader.get_model_architecture = lambda _config: (model, "Model")
        monkeypatch.setitem(sys.modules, LOADER, loader)

    return give


@pytest.fixture
def no_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the class unavailable."""
    monkeypatch.setitem(sys.modules, LOADER, None)


# --- names ----------------------------------------------------------------------------


@pytest.mark.usefixtures("no_class")
def test_modules_of_checkpoint_need_no_class(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = VLLMModel(TEXT, config())
    assert model.find(f"model.{Q}") == WIDTHS
    assert not caplog.records


@pytest.mark.parametrize(
    ("attributes", "name", "widths"),
    [
        ({}, f"model.language_model.{Q}", None),
        ({}, f"language_model.model.{Q}", None),
        ({}, Q, None),
        ({"hf_to_vllm_mapper": None}, f"x.{Q}", None),
        ({"hf_to_vllm_mapper": Mapper(x="model")}, f"x.{Q}", WIDTHS),
        ({"hf_to_vllm_mapper": Mapper(model="y")}, f"y.{Q}", WIDTHS),
        ({"hf_to_vllm_mapper": Mapper(x=None)}, f"x.{Q}", UNKNOWN),
        ({"hf_to_vllm_mapper": NewMapper(x=None)}, f"x.{Q}", None),
        ({"lora_skip_prefixes": ["mtp."]}, f"mtp.{Q}", UNKNOWN),
        ({"lora_skip_prefixes": ["mtp."]}, f"model.mtp.{Q}", UNKNOWN),
        ({"lora_skip_prefixes": ["mtp."]}, f"amtp.{Q}", None),
        ({}, "model.layers.0.mlp.up_proj", None),
        (
            {"packed_modules_mapping": {"gate_up_proj": ["gate_proj", "up_proj"]}},
            "model.layers.0.mlp.up_proj",
            UNKNOWN,
        ),
        (
            {"packed_modules_mapping": {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}},
            "model.layers.0.self_attn.qkv_proj",
            UNKNOWN,
        ),
        (
            {"packed_modules_mapping": {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}},
            "model.layers.1.self_attn.k_proj",
            None,
        ),
    ],
)
def test_missing_modules_may_be_known_to_class(
    model_class: Callable[..., None],
    attributes: dict[str, Any],
    name: str,
    widths: Widths | None,
) -> None:
    model_class(**attributes)
    assert VLLMModel(TEXT, config()).find(name) == widths


def test_dropped_weights_do_not_drop_modules(
    model_class: Callable[..., None],
) -> None:
    model_class(hf_to_vllm_mapper=Mapper(mtp=None))
    model = VLLMModel({**TEXT, f"mtp.{Q}": WIDTHS}, config())
    assert model.find(f"x.{Q}") is None


def test_checkpoint_without_head_has_no_prefix(
    model_class: Callable[..., None],
) -> None:
    model_class()
    model = VLLMModel({"h.0.attn.c_attn": WIDTHS}, config())
    assert model.find("transformer.h.0.attn.c_attn") == WIDTHS
    assert model.find("a.transformer.h.0.attn.c_attn") is None


@pytest.mark.usefixtures("no_class")
def test_nothing_is_rejected_without_class(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = VLLMModel(TEXT, config())
    assert model.find("x.layers.7.y") == UNKNOWN == model.find("x.layers.8.y")
    [record] = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "not checked" in record.getMessage()
    monkeypatch.setenv("MHCS_STRICT", "1")
    with pytest.raises(ImportError):
        VLLMModel(TEXT, config()).find("x.layers.7.y")


@pytest.mark.usefixtures("no_class")
@pytest.mark.parametrize(
    "fields",
    [
        {"runner_type": "pooling"},
        {"hf_text_config": SimpleNamespace()},
        {"hf_config": SimpleNamespace(is_encoder_decoder=True)},
    ],
)
def test_multimodal_model_accepts_any_prefix(fields: dict[str, Any]) -> None:
    model = VLLMModel(TEXT, config(**fields))
    assert model.find(f"x.y.{Q}") == WIDTHS


# --- the checkpoint -------------------------------------------------------------------


def test_checkpoint_is_read_from_folder(tmp_path: Path) -> None:
    save(tmp_path / "model.safetensors", {f"model.{Q}.weight": zeros(64, 128)})
    model = read_base_model(config_of_vllm(model=str(tmp_path)))
    assert model is not None
    assert model.find(f"model.{Q}") == WIDTHS


def test_checkpoint_is_read_from_hub_cache(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    cached = tmp_path / "models--org--m"
    for revision, commit in (("main", "1" * 40), ("v2", "2" * 40)):
        (cached / "refs").mkdir(parents=True, exist_ok=True)
        (cached / "refs" / revision).write_text(commit)
        file = cached / "snapshots" / commit / "model.safetensors"
        save(file, {f"{revision}.{Q}.weight": zeros(64, 128)})
    model = read_base_model(config_of_vllm(tmp_path, revision="v2"))
    assert model is not None
    assert model.find(f"v2.{Q}") == WIDTHS


@pytest.mark.parametrize("name", ["org/m", "s3://bucket/m", "not a name", "m.gguf"])
def test_configuration_gives_layers_without_checkpoint(
    tmp_path: Path, name: str
) -> None:
    pytest.importorskip("huggingface_hub")
    whole = SimpleNamespace(num_hidden_layers=2, num_nextn_predict_layers=1)
    fields = {"model": name, "hf_config": whole, "hf_text_config": whole}
    model = read_base_model(config_of_vllm(tmp_path, **fields))
    assert isinstance(model, LayerCount)
    assert model.find("model.layers.2.x") == UNKNOWN
    assert model.find("model.layers.3.x") is None


@pytest.mark.parametrize(
    "fields",
    [
        {"hf_text_config": SimpleNamespace(num_hidden_layers=2)},
        {"hf_config": SimpleNamespace(), "hf_text_config": None},
    ],
)
def test_nothing_is_known_without_checkpoint_and_configuration(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    if fields["hf_text_config"] is None:
        fields["hf_text_config"] = fields["hf_config"]
    fields["model"] = str(tmp_path)
    assert read_base_model(config_of_vllm(**fields)) is None


def test_server_reads_checkpoint_once(tmp_path: Path) -> None:
    app = FastAPI()
    vllm_config = config_of_vllm(model=str(tmp_path))
    app.state.engine_client = SimpleNamespace(vllm_config=vllm_config)
    backend = VLLMAdapters(app)
    assert isinstance(backend.base_model(), LayerCount)
    assert backend.base_model() is backend.base_model()


def test_unexpected_release_gives_no_modules(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = FastAPI()
    app.state.engine_client = SimpleNamespace(vllm_config=SimpleNamespace())
    backend = VLLMAdapters(app)
    assert backend.base_model() is backend.base_model() is None
    assert [r.levelno for r in caplog.records] == [logging.ERROR]
