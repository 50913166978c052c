"""``LoRARequest``, a field of requests and an argument of ``generate_async``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from standins.trtllm_common.release import since


@dataclass(slots=True)
class LoRARequest:
    """An adapter by name, id and path. Up to 1.3 only the path is checked."""

    lora_name: str
    lora_int_id: int
    lora_path: str = ""
    lora_ckpt_source: str = "hf"

    def __post_init__(self) -> None:
        if since(1, 4):
            return
        # Path("") would be the working directory.
        if not self.lora_path or not Path(self.lora_path).exists():
            raise ValueError(f"lora_path ({self.lora_path}) does not exist.")

    @property
    def adapter_id(self) -> int:
        return self.lora_int_id

    @property
    def name(self) -> str:
        return self.lora_name

    @property
    def path(self) -> str:
        return self.lora_path
