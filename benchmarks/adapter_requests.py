"""Requests that register and use adapters, and the adapters' folders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from exchange import Exchange, json_exchange
from traffic import ADAPTER, ADAPTER_HEADER, PATH

#: Adapters for all measurements. Requests use the first one.
NAMES: Final = (ADAPTER, *(f"adapter-{number:04}" for number in range(1, 1000)))


#: The smallest possible adapter: one module with one input and one output.
_TENSORS: Final = {
    "layers.0.lora_A.weight": {
        "dtype": "F32",
        "shape": [8, 1],
        "data_offsets": [0, 32],
    },
    "layers.0.lora_B.weight": {
        "dtype": "F32",
        "shape": [1, 8],
        "data_offsets": [32, 64],
    },
}


@dataclass(frozen=True, slots=True)
class AdapterRequest:
    """A minimal request, with a JSON body or none."""

    method: str
    target: str
    document: dict[str, Any] | None = None
    adapter: str = ""

    def exchange(self) -> Exchange:
        named = [(ADAPTER_HEADER.lower().encode(), self.adapter.encode())]
        headers = named if self.adapter else []
        return json_exchange(self.method, self.target, self.document, headers)


def registration(name: str, src: str) -> AdapterRequest:
    return AdapterRequest("POST", "/adapters", {"name": name, "src": src})


def ask_for(adapter: str) -> AdapterRequest:
    """Return an inference request with the adapter header."""
    return AdapterRequest("POST", PATH, {"model": "base"}, adapter)


def write_adapter(folder: Path) -> str:
    """Write a minimal valid adapter and return its path."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"r": 8}')
    header = json.dumps(_TENSORS).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(64)
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return str(folder)
