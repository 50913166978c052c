"""Adapters as a worker keeps them: read at first use, kept by their id alone.

A second path under a known id is never looked at: the answer comes from the old
weights. In the real worker that holds for good: what its cache of ``max_cpu_loras``
drops is filled again from tensors which it keeps by id as well. With
``TRTLLM_STANDIN_REREADS=1`` a dropped adapter is read again from its path instead.

Weights are a text. One that begins with "broken" cannot be loaded, and, as in the real
worker, its id counts as loaded all the same: it fails ever after.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tensorrt_llm.executor.utils import RequestError

BASE: Final = "base"
CONFIG: Final = "adapter_config.json"
FILES: Final = ("adapter_model.safetensors", "adapter_model.bin")
#: What loading raises when an adapter is bad.
LOAD_ERRORS: Final = (OSError, ValueError, KeyError)


class Adapters:
    def __init__(self, lora_config: Mapping[str, Any] | None) -> None:
        self._config = lora_config
        self._rereads = os.environ.get("TRTLLM_STANDIN_REREADS") == "1"
        self._texts: dict[int, str | None] = {}
        #: What was read, as [id, path].
        self.loads: list[tuple[int, str]] = []

    def text(self, lora: Mapping[str, Any] | None) -> str:
        """Return what the model says with the adapter; without ``lora_config``, base.

        Raises:
            RequestError: the engine refuses the adapter, and goes on.
            OSError, ValueError, KeyError: it cannot be loaded.
        """
        if self._config is None or lora is None:
            return BASE
        key, path = lora["lora_int_id"], lora["lora_path"]
        if key not in self._texts:
            self._load(key, Path(path))
        text = self._texts.pop(key)
        self._texts[key] = text  # The last one is the one used last.
        self._drop_oldest()
        if text is None:
            raise KeyError(str(key))
        return text

    def _load(self, key: int, folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_text())
        text = _read(folder)
        self.loads.append((key, str(folder)))
        self._check_rank(int(config["r"]))
        self._texts[key] = None
        if text.startswith("broken"):
            raise ValueError(f"the weights in {folder} are {text}")
        self._texts[key] = text

    def _check_rank(self, rank: int) -> None:
        assert self._config is not None
        if rank > (limit := self._config["max_lora_rank"]):
            raise RequestError(f"LoRA rank {rank} is greater than {limit}")

    def _drop_oldest(self) -> None:
        assert self._config is not None
        kept = self._config["max_cpu_loras"]
        if self._rereads and kept is not None and len(self._texts) > kept:
            del self._texts[next(iter(self._texts))]


def _read(folder: Path) -> str:
    for name in FILES:
        if (folder / name).exists():
            return (folder / name).read_text()
    raise ValueError(f"Failed to load adapter_model from {folder}")
