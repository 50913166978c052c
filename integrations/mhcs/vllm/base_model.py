"""The model of a vLLM server, as adapters have to fit it.

vLLM applies to a module what an adapter has under the module's name, and ignores the
rest. The front end has no modules: their names are those of the checkpoint, unless the
model's class knows better.
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
    "Whether adapters fit the model is not checked: vLLM ignores what does not."
)
_GENERATES: Final = "generate"
#: How the names of tensors end, of an adapter and of a checkpoint.
_LORA: Final = ".lora_A.weight"
_WEIGHT: Final = ".weight"


def read_base_model(vllm_config: Any) -> BaseModel | None:
    """Return the model of a server; None: nothing is known of it."""
    config = vllm_config.model_config
    folder = _folder(config, getattr(vllm_config, "load_config", None))
    modules = None if folder is None else read_checkpoint(folder)
    if modules is not None:
        return VLLMModel(modules, config)
    return None if _has_parts(config) else _layer_count(config.hf_config)


class VLLMModel(Checkpoint):
    """A model that vLLM has loaded from a checkpoint.

    One with several stacks of layers, or that does not generate text, may have them
    under another prefix than the checkpoint; any other has the checkpoint's.
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
        # Its class takes a second to import: only for what is not found without it.
        with guarded("Reading the names of the model's class", UNCHECKED):
            from vllm.model_executor.model_loader.utils import get_model_architecture

            return names_of(get_model_architecture(self._config)[0], self._checkpoint)
        return None


class ClassNames(msgspec.Struct):
    """Names as a model's class has them.

    Args:
        mapper: renames what is in a checkpoint, and in adapters; None: nothing is.
        ignored: beginnings of names that adapters may have, and vLLM leaves out.
        modules: those of the checkpoint, renamed.
    """

    mapper: Any
    ignored: Sequence[str]
    modules: Mapping[str, Widths]

    def find(self, name: str) -> Widths | None:
        if any(f".{prefix}" in f".{name}" for prefix in self.ignored):
            return UNKNOWN
        new = rename(self.mapper, name, _LORA)
        if new is None:
            return UNKNOWN  # vLLM says what it makes of it.
        # A checkpoint without a head has no prefix for the rest.
        prefix, _, rest = new.partition(".")
        if prefix and "." not in Place(rest).stack and rest in self.modules:
            return self.modules[rest]
        return self.modules.get(new)


def names_of(model_class: type, modules: Mapping[str, Widths]) -> ClassNames:
    """Return the names that a class of vLLM's has for the modules of a checkpoint."""
    mapper = getattr(model_class, "hf_to_vllm_mapper", None)
    # Since 0.20: that of renamings alone. The whole one drops what is not loaded.
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
    """Yield what is one module with this one in some of vLLM, HF and checkpoints."""
    parent, dot, last = name.rpartition(".")
    for whole, parts in packed.items():
        if last == whole or last in parts:
            yield from (f"{parent}{dot}{other}" for other in (whole, *parts))


def rename(mapper: Any, name: str, ending: str) -> str | None:
    """Return what the mapper makes of a module's name; None: it is left out."""
    if mapper is None:
        return name
    new: str | None = mapper._map_name(name + ending)
    return None if new is None else new.removesuffix(ending)


def _folder(config: Any, load_config: Any) -> Path | None:
    """Return where the checkpoint is on this machine; no hub is asked."""
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
        return None  # A file, or weights that are loaded from elsewhere.
    return Path(snapshot)


def _has_parts(config: Any) -> bool:
    """Whether there is more than one stack of layers: for images, for an encoder."""
    whole = config.hf_config
    is_text = getattr(config, "hf_text_config", whole) is whole
    return not is_text or getattr(whole, "is_encoder_decoder", False)


def _layer_count(hf_config: Any) -> LayerCount | None:
    layers = getattr(hf_config, "num_hidden_layers", None)
    # They follow the others, and adapters may have some for them.
    more = getattr(hf_config, "num_nextn_predict_layers", None) or 0
    return None if layers is None else LayerCount(layers + more)
