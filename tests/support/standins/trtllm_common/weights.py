"""A worker's cache of adapters: they are read at first use, and identified by their id.

Another path for a known id is ignored: the old weights are used. In the real worker
this is permanent: adapters that its cache of ``max_cpu_loras`` evicts are reloaded from
tensors which are also kept by id. With ``TRTLLM_STANDIN_REREADS=1``, an evicted adapter
is read again from its path instead.

Weights are a text. One that begins with "broken" cannot be loaded. As in the real
worker, its id then counts as loaded, and all later requests with it fail.
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
#: The exceptions of loading a bad adapter.
LOAD_ERRORS: Final = (OSError, ValueError, KeyError)


class Adapters:
    def __init__(self, lora_config: Mapping[str, Any] | None) -> None:
        self._config = lora_config
        self._rereads = os.environ.get("TRTLLM_STANDIN_REREADS") == "1"
        self._texts: dict[int, str | None] = {}
        #: The adapters that were read, as [id, path].
        self.loads: list[tuple[int, str]] = []

    def text(self, lora: Mapping[str, Any] | None) -> str:
        """Return the weights of an adapter, or "base" without ``lora_config``.

        Raises:
            RequestError: the engine rejects the adapter, and continues.
            OSError, ValueError, KeyError: it cannot be loaded.
        """
        if self._config is None or lora is None:
            return BASE
        key, path = lora["lora_int_id"], lora["lora_path"]
        if key not in self._texts:
            self._load(key, Path(path))
        text = self._texts.pop(key)
        self._texts[key] = text  # In order of use, the last one used at the end.
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
