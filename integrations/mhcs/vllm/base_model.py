"""Module names and widths of a vLLM server's model, which adapters must match.

vLLM applies the tensors that an adapter has for a module's name, and ignores all
others. The API server does not load the modules: their names are taken from the
checkpoint and, where they differ, mapped by the model's class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import msgspec

from mhcs.guard import guarded
from model_hosting_container_standards.engines import (
    UNKNOWN,
    BaseModel,
    Checkpoint,
    LayerCount,
    Place,
    Widths,
    read_checkpoint,
)

UNCHECKED: Final = (
    "Adapters are not checked against the model: vLLM ignores tensors that do not fit."
)
_GENERATES: Final = "generate"
#: Suffixes of tensor names in an adapter and in a checkpoint.
_LORA: Final = ".lora_A.weight"
_WEIGHT: Final = ".weight"


def read_base_model(vllm_config: Any) -> BaseModel | None:
    """Return the model of a server, or None if its modules cannot be determined."""
    config = vllm_config.model_config
    folder = _folder(config, getattr(vllm_config, "load_config", None))
    modules = None if folder is None else read_checkpoint(folder)
    if modules is not None:
        return VLLMModel(modules, config)
    return None if _has_parts(config) else _layer_count(config.hf_config)


class VLLMModel(Checkpoint):
    """A model that vLLM has loaded from a checkpoint.

    The module prefix may differ from the checkpoint's if the model has several stacks
    of layers or does not generate text; otherwise it is the same.
    """

    def __init__(self, modules: Mapping[str, Widths], config: Any) -> None:
        runner = getattr(config, "runner_type", _GENERATES)
        any_prefix = _has_parts(config) or runner != _GENERATES
        super().__init__(modules, any_prefix=any_prefix)
        self._checkpoint = modules
        self._config = config

    def find(self, name: str) -> Widths | None:
        found = super().find(name)
        if found is not None:
            return found
        return UNKNOWN if self._names is None else self._names.find(name)

    @cached_property
    def _names(self) -> ClassNames | None:
        # Importing the class takes a second: only for names not found without it.
        with guarded("Reading the names of the model's class", UNCHECKED):
            from vllm.model_executor.model_loader.utils import get_model_architecture

            return names_of(get_model_architecture(self._config)[0], self._checkpoint)
        return None


class ClassNames(msgspec.Struct):
    """Module names as the model's class defines them.

    Args:
        mapper: vLLM's mapper of names in checkpoints and adapters; None: no renaming.
        ignored: prefixes of adapter tensors that vLLM skips.
        modules: the checkpoint's modules by their new names.
    """

    mapper: Any
    ignored: Sequence[str]
    modules: Mapping[str, Widths]

    def find(self, name: str) -> Widths | None:
        if any(f".{prefix}" in f".{name}" for prefix in self.ignored):
            return UNKNOWN
        new = rename(self.mapper, name, _LORA)
        if new is None:
            return UNKNOWN  # vLLM itself reports how it handles such a name.
        # The modules of a checkpoint without a head have no prefix.
        prefix, _, rest = new.partition(".")
        if prefix and "." not in Place(rest).stack and rest in self.modules:
            return self.modules[rest]
        return self.modules.get(new)


def names_of(model_class: type, modules: Mapping[str, Widths]) -> ClassNames:
    """Return a checkpoint's modules by the names that vLLM's model class uses."""
    mapper = getattr(model_class, "hf_to_vllm_mapper", None)
    # Since 0.20: the renamings alone. The complete mapper drops weights not loaded.
    get_renaming = getattr(mapper, "get_rename_mapper", None)
    mapper = mapper if get_renaming is None else get_renaming()
    packed = getattr(model_class, "packed_modules_mapping", None) or {}
    renamed: dict[str, Widths] = {}
    for module, widths in modules.items():
        if (name := rename(mapper, module, _WEIGHT)) is not None:
            renamed[name] = widths
    for name in [*renamed]:
        for other in _packed(name, packed):
            renamed.setdefault(other, UNKNOWN)
    ignored = getattr(model_class, "lora_skip_prefixes", None) or ()
    return ClassNames(mapper, ignored, renamed)


def _packed(name: str, packed: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the names of a packed module, such as ``qkv_proj``, and of its parts.

    vLLM, Hugging Face and checkpoints differ in whether they pack a module.
    """
    parent, dot, last = name.rpartition(".")
    for whole, parts in packed.items():
        if last == whole or last in parts:
            yield from (f"{parent}{dot}{other}" for other in (whole, *parts))


def rename(mapper: Any, name: str, suffix: str) -> str | None:
    """Return the mapped name of a module, or None if the mapper drops it."""
    if mapper is None:
        return name
    new: str | None = mapper._map_name(name + suffix)
    return None if new is None else new.removesuffix(suffix)


def _folder(config: Any, load_config: Any) -> Path | None:
    """Return the checkpoint's local folder, without any request to a hub."""
    if Path(config.model).is_dir():
        return Path(config.model)
    from huggingface_hub import snapshot_download

    try:
        snapshot = snapshot_download(
            config.model,
            revision=config.revision,
            cache_dir=getattr(load_config, "download_dir", None),
            local_files_only=True,
        )
    except (OSError, ValueError):
        return None  # A single file, or weights loaded from another location.
    return Path(snapshot)


def _has_parts(config: Any) -> bool:
    """Whether there are several stacks of layers: multimodal, or encoder-decoder."""
    whole = config.hf_config
    is_text = getattr(config, "hf_text_config", whole) is whole
    return not is_text or getattr(whole, "is_encoder_decoder", False)


def _layer_count(hf_config: Any) -> LayerCount | None:
    layers = getattr(hf_config, "num_hidden_layers", None)
    # MTP layers are numbered after the others, and adapters may have tensors for them.
    nextn_layers = getattr(hf_config, "num_nextn_predict_layers", None) or 0
    return None if layers is None else LayerCount(layers + nextn_layers)
